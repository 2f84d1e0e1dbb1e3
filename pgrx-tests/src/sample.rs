//! The sample data: a shop's click stream and a music seller's purchases, loaded into plain tables.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use postgres::Client;

use crate::place::checkout;

/// Makes and fills the table `clicks`; the times of the file are UTC. Returns the rows.
///
/// # Errors
/// When the file cannot be read or the server refuses.
pub fn load_clicks(client: &mut Client) -> Result<u64> {
    client.batch_execute(
        "CREATE TABLE clicks (
             click_id bigint GENERATED ALWAYS AS IDENTITY,
             user_id text NOT NULL, session_id text NOT NULL, event text NOT NULL, at timestamptz NOT NULL,
             platform text, acquisition_channel text, user_cohort text, user_lifecycle text)",
    )?;
    let mut reader = csv::Reader::from_reader(open("ecom_clickstream.csv.gz")?);
    let mut rows = csv::Writer::from_writer(Vec::new());
    for record in reader.records() {
        let record = record?;
        let utc = format!("{}+00", &record[3]);
        rows.write_record(record.iter().enumerate().map(|(i, field)| if i == 3 { utc.as_str() } else { field }))?;
    }
    let columns = "user_id, session_id, event, at, platform, acquisition_channel, user_cohort, user_lifecycle";
    copy(client, &format!("clicks ({columns})"), &rows.into_inner()?)
}

/// Makes and fills the table `purchases`; the file knows the day only, so each is put at noon UTC. Returns the rows.
///
/// # Errors
/// When the file cannot be read or the server refuses.
pub fn load_purchases(client: &mut Client) -> Result<u64> {
    client.batch_execute(
        "CREATE TABLE purchases (
             customer_id int NOT NULL, bought_on date NOT NULL, at timestamptz NOT NULL,
             cds int NOT NULL, dollars numeric NOT NULL)",
    )?;
    let mut text = String::new();
    open("cdnow_purchases.txt.gz")?.read_to_string(&mut text)?;
    let mut rows = csv::Writer::from_writer(Vec::new());
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [customer, day, cds, dollars] = fields[..] else { continue };
        rows.write_record([customer, day, &format!("{day} 12:00+00"), cds, dollars])?;
    }
    copy(client, "purchases", &rows.into_inner()?)
}

fn open(name: &str) -> Result<GzDecoder<std::fs::File>> {
    let path: PathBuf = checkout().join("pgrx-tests/data").join(name);
    let file = std::fs::File::open(&path).with_context(|| format!("the sample {} is missing", path.display()))?;
    Ok(GzDecoder::new(file))
}

fn copy(client: &mut Client, target: &str, rows: &[u8]) -> Result<u64> {
    let mut writer = client.copy_in(&format!("COPY {target} FROM STDIN (FORMAT csv)"))?;
    writer.write_all(rows)?;
    Ok(writer.finish()?)
}
