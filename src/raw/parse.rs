//! SQL text in the server's own parser: what a query is and yields, without running it.

use std::ffi::{CStr, CString};

use eventkit_core::error::{Condition, Error, Result};
use pgrx::{PgList, is_a, pg_sys};

/// One query that reads, as it was written without what ends it, and its columns in order.
pub struct Reading {
    /// The text from its first word to its last; comments behind it and a semicolon are left out.
    pub text: String,
    /// Name and type of each column.
    pub columns: Vec<(String, pg_sys::Oid)>,
}

fn c_text(argument: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new(Condition::InvalidParameterValue, format!("argument \"{argument}\" holds a zero byte"))
            .detail("SQL text ends at a zero byte.")
            .hint("Write the text without it.")
    })
}

/// The statements of a text. Errors: the server's own, where the text is no SQL.
fn statements(text: &CStr) -> PgList<pg_sys::RawStmt> {
    // SAFETY: the text is zero-terminated, and the list holds RawStmt nodes, as the parser says.
    unsafe { PgList::from_pg(pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT)) }
}

fn not_one(found: usize) -> Error {
    Error::new(Condition::InvalidParameterValue, format!("argument \"query\" holds {found} statements, not one"))
        .detail("A saved query is one SELECT.")
        .hint("Leave out what stands before or behind it.")
}

fn not_reading(what: &str) -> Error {
    Error::new(Condition::InvalidParameterValue, "argument \"query\" is not a query that only reads")
        .detail(format!("It {what}."))
        .hint("Write one SELECT with a column events and, if you like, a column breakdown.")
}

/// What a query yields, by parsing it and looking its names up, as for a view; nothing of it runs. Errors: `22023` for
/// anything but one SELECT without data-modifying parts, row locks and INTO; the server's own for wrong SQL.
pub fn reading(query: &str) -> Result<Reading> {
    let text = c_text("query", query)?;
    let statements = statements(&text);
    let (1, Some(statement)) = (statements.len(), statements.get_ptr(0)) else { return Err(not_one(statements.len())) };
    // SAFETY: the nodes are the parser's own and live as long as the memory context of the call; they are read before
    // anything frees it. A node that says it is a SelectStmt is one.
    unsafe {
        if !is_a((*statement).stmt, pg_sys::NodeTag::T_SelectStmt) {
            return Err(not_reading("is another kind of statement"));
        }
        let (from, length) = ((*statement).stmt_location, (*statement).stmt_len);
        let analyzed =
            pg_sys::parse_analyze_fixedparams(statement, text.as_ptr(), std::ptr::null(), 0, std::ptr::null_mut());
        if (*analyzed).commandType != pg_sys::CmdType::CMD_SELECT || !(*analyzed).utilityStmt.is_null() {
            return Err(not_reading("makes a table"));
        }
        if (*analyzed).hasModifyingCTE {
            return Err(not_reading("changes data in its WITH"));
        }
        if !(*analyzed).rowMarks.is_null() {
            return Err(not_reading("locks rows"));
        }
        let mut columns = Vec::new();
        for target in PgList::<pg_sys::TargetEntry>::from_pg((*analyzed).targetList).iter_ptr() {
            if (*target).resjunk {
                continue;
            }
            let name = (*target).resname;
            let name = if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() };
            columns.push((name, pg_sys::exprType((*target).expr.cast())));
        }
        let from = usize::try_from(from).unwrap_or(0);
        let to = usize::try_from(length).ok().filter(|length| *length > 0).map_or(query.len(), |length| from + length);
        Ok(Reading { text: query.get(from..to).unwrap_or(query).to_owned(), columns })
    }
}

/// Refuses a text that is more than one condition: what would close the parenthesis it is put into. Errors: `22023`, and
/// the server's own for wrong SQL.
pub fn check_condition(condition: &str) -> Result<()> {
    let text = c_text("filter", &format!("SELECT WHERE (\n{condition}\n)"))?;
    let statements = statements(&text);
    let lone = match (statements.len(), statements.get_ptr(0)) {
        // SAFETY: as above.
        (1, Some(statement)) => unsafe {
            let select = (*statement).stmt.cast::<pg_sys::SelectStmt>();
            is_a((*statement).stmt, pg_sys::NodeTag::T_SelectStmt)
                && (*select).op == pg_sys::SetOperation::SETOP_NONE
                && !(*select).whereClause.is_null()
                && (*select).groupClause.is_null()
                && (*select).havingClause.is_null()
                && (*select).windowClause.is_null()
                && (*select).sortClause.is_null()
                && (*select).limitOffset.is_null()
                && (*select).limitCount.is_null()
                && (*select).lockingClause.is_null()
        },
        _ => false,
    };
    if lone {
        return Ok(());
    }
    Err(Error::new(Condition::InvalidParameterValue, "argument \"filter\" is not one condition")
        .detail("It stands behind WHERE, in parentheses.")
        .hint("Write a condition over the columns of the source, such as filter => 'country = ''nl'''."))
}
