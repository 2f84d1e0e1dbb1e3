//! What SQL sees: arguments in, core called, result out.

mod calendar;
mod events;
mod funnel;
mod partition;
mod paths;
mod raise;
mod retention;
mod rows;
mod transaction;
