//! The type `funnel_summary`: its text and binary forms, and putting summaries together.

use eventkit_core::error::Result;
use eventkit_core::funnel::summary::Summary;
use eventkit_core::stored::Stored;
use pgrx::Internal;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::pg::summary_type::{self, summary_type};
use crate::raw::types::FunnelSummary;
use crate::raw::wire;

pgrx::extension_sql!("CREATE TYPE funnel_summary;", name = "funnel_summary_shell");

summary_type!(
    FunnelSummary: Summary, "funnel_summary_shell", "funnel_summary_type", summary,
    funnel_summary_in, funnel_summary_out, funnel_summary_combine, funnel_summary_finish
);

/// Reads a value.
pub fn decode(value: FunnelSummary) -> Result<Summary> {
    summary_type::decode(value)
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_shell"])]
fn funnel_summary_recv(mut message: Internal) -> FunnelSummary {
    Summary::from_binary(wire::rest_of(&mut message)).and_then(|summary| summary_type::value(&summary)).or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_shell"])]
fn funnel_summary_send(summary: FunnelSummary) -> Vec<u8> {
    decode(summary).map(|summary| summary.encode()).or_raise()
}

pgrx::extension_sql!(
    r#"
CREATE TYPE funnel_summary (
    INPUT = funnel_summary_in,
    OUTPUT = funnel_summary_out,
    RECEIVE = funnel_summary_recv,
    SEND = funnel_summary_send,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "funnel_summary_type",
    requires = [funnel_summary_in, funnel_summary_out, funnel_summary_recv, funnel_summary_send],
);
