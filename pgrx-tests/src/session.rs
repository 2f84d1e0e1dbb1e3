//! A named connection whose statements run in the background, so that a test has several of them under way.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use postgres::{CancelToken, Client, Config, NoTls, SimpleQueryMessage};

use crate::cluster::Cluster;
use crate::failure::Failure;

/// The rows of all statements of one `run`, as text; NULL is none.
pub type Rows = Vec<Vec<Option<String>>>;

/// A named connection.
pub struct Session {
    name: String,
    pid: i32,
    cancel: CancelToken,
    superuser: Config,
    orders: Option<Sender<String>>,
    answers: Receiver<Result<Rows, Failure>>,
    notices: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Opens a session as the superuser; its name is the application_name.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn open(cluster: &Cluster, database: &str, name: &str) -> Result<Self> {
        Self::with(cluster.config(database), cluster.config(database), name)
    }

    /// Opens a session as some other role.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn open_as(cluster: &Cluster, database: &str, name: &str, role: &str) -> Result<Self> {
        let mut config = cluster.config(database);
        config.user(role);
        Self::with(config, cluster.config(database), name)
    }

    fn with(mut config: Config, superuser: Config, name: &str) -> Result<Self> {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        config.application_name(name).notice_callback(move |notice| {
            if let Ok(mut heard) = heard.lock() {
                heard.push(format!("{}: {}", notice.severity(), notice.message()));
            }
        });
        let mut client = config.connect(NoTls).with_context(|| format!("session {name} cannot connect"))?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[])?.try_get(0)?;
        let cancel = client.cancel_token();
        let (orders, todo) = channel::<String>();
        let (done, answers) = channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for sql in todo {
                if done.send(execute(&mut client, &sql)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            cancel,
            superuser,
            orders: Some(orders),
            answers,
            notices,
            thread: Some(thread),
        })
    }

    /// The session's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The backend's process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Begins to run one or more statements; [`Session::join`] waits for them. Each `run` needs one `join`.
    pub fn run(&self, sql: &str) {
        if let Some(orders) = &self.orders {
            // A thread that is gone shows in `join`, which then says that the session ended.
            let _ = orders.send(sql.to_owned());
        }
    }

    /// Waits for the oldest `run` that is not joined yet.
    ///
    /// # Errors
    /// What the server said.
    pub fn join(&self) -> Result<Rows, Failure> {
        self.answers.recv().unwrap_or_else(|_| Err(Failure::broken(format!("session {} has ended", self.name))))
    }

    /// Runs statements and waits for them.
    ///
    /// # Errors
    /// What the server said.
    pub fn query(&self, sql: &str) -> Result<Rows, Failure> {
        self.run(sql);
        self.join()
    }

    /// Runs a statement and returns the first column of the first row.
    ///
    /// # Errors
    /// What the server said.
    pub fn value(&self, sql: &str) -> Result<Option<String>, Failure> {
        Ok(self.query(sql)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// Cancels what runs, as Ctrl-C does, and returns when the server has sent the signal.
    ///
    /// The request of the protocol would be signalled twice (`signal_child` of the postmaster), some time later: the second signal may meet
    /// the next statement.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn cancel(&self) -> Result<()> {
        let mut client = self.superuser.connect(NoTls).context("cannot connect to cancel")?;
        client.query_one("SELECT pg_cancel_backend($1)", &[&self.pid]).context("cannot cancel")?;
        Ok(())
    }

    /// Takes the notices heard so far, each with its severity.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        self.notices.lock().map(|mut heard| std::mem::take(&mut *heard)).unwrap_or_default()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.orders.take());
        // A statement that still waits for a lock would never end by itself.
        let _ = self.cancel.cancel_query(NoTls);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn execute(client: &mut Client, sql: &str) -> Result<Rows, Failure> {
    let messages = client.simple_query(sql).map_err(|error| {
        // The server tells an error before it has ended the transaction and given back the locks: it answers again when it has.
        let _ = client.simple_query("");
        Failure::from(&error)
    })?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(ToOwned::to_owned)).collect()),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}
