//! What SQL sees: arguments in, core called, result out.

mod events;
mod funnel;
mod partition;
mod raise;
mod rows;
mod transaction;
