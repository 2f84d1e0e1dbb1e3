//! What SQL sees: arguments in, core called, result out.

mod calendar;
mod events;
mod funnel;
mod partition;
mod paths;
mod raise;
mod retention;
mod rows;
mod summary_type;
mod transaction;
