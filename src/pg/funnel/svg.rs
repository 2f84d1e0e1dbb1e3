//! `funnel_svg`: a summary as a picture.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::funnel::svg;
use eventkit_core::options::required;
use pgrx::prelude::*;

use super::summary::decode;
use crate::pg::raise::OrRaise;
use crate::raw::types::FunnelSummary;

#[pg_extern(immutable, parallel_safe, cost = 50, requires = ["funnel_summary_type"])]
fn funnel_svg(
    summary: Option<FunnelSummary>,
    width: default!(Option<i32>, 720),
    title: default!(Option<&str>, "NULL"),
) -> Option<String> {
    let draw = || -> Result<Option<String>> {
        let width = required("width", width)?;
        let width = u32::try_from(width).ok().filter(|width| svg::WIDTHS.contains(width)).ok_or_else(|| {
            Error::new(Condition::InvalidParameterValue, format!("invalid value for argument \"width\": {width}"))
                .detail(format!("A picture is {} to {} pixels wide.", svg::WIDTHS.start(), svg::WIDTHS.end()))
                .hint("Leave width out to get its default.")
        })?;
        summary.map(|summary| decode(summary).map(|summary| svg::svg(&summary, width, title))).transpose()
    };
    draw().or_raise()
}
