//! The type `funnel_trend`: its text form, and putting such values together.

use eventkit_core::error::Result;
use eventkit_core::funnel::trend::summary::Trend;
use pgrx::prelude::*;

use crate::pg::summary_type::{self, summary_type};
use crate::raw::types::FunnelTrend;

pgrx::extension_sql!("CREATE TYPE funnel_trend;", name = "funnel_trend_shell");

summary_type!(
    FunnelTrend: Trend, "funnel_trend_shell", "funnel_trend_type", trend,
    funnel_trend_in, funnel_trend_out, funnel_trend_combine, funnel_trend_finish
);

/// Reads a value.
pub fn decode(value: FunnelTrend) -> Result<Trend> {
    summary_type::decode(value)
}

pgrx::extension_sql!(
    r#"
CREATE TYPE funnel_trend (
    INPUT = funnel_trend_in,
    OUTPUT = funnel_trend_out,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "funnel_trend_type",
    requires = [funnel_trend_in, funnel_trend_out],
);
