//! pg_eventkit: the event toolkit inside PostgreSQL. `core` has the algorithms, `raw` the only unsafe code, `pg` what SQL sees.

mod pg;
mod raw;

pgrx::pg_module_magic!(name, version);
pgrx::extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
pgrx::extension_sql_file!("../sql/comments.sql", name = "comments", finalize);

#[cfg(any(test, feature = "pg_test"))]
pub mod pg_test {
    //! What `cargo pgrx test` asks of an extension.

    /// Nothing to prepare: every test makes its own tables.
    pub fn setup(_options: Vec<&str>) {}

    /// The tests need no preloaded library.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
