//! A server of our own: made in a folder of its own, reached through a unix socket, gone when dropped.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::{Client, Config, NoTls};

use crate::account::{give_to_server, unprivileged};
use crate::command::{output, read};
use crate::guard::Guard;
use crate::place::{PgVersion, bin_dir, checkout};

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// The longest a cluster may take to start, stop or die.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a cluster shall be like.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    version: PgVersion,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    fsync: bool,
    folder: Option<PathBuf>,
}

impl ClusterBuilder {
    /// A cluster of this version, with fsync off.
    #[must_use]
    pub fn new(version: PgVersion) -> Self {
        Self { version, settings: Vec::new(), environment: Vec::new(), fsync: false, folder: None }
    }

    /// Adds a line to postgresql.conf.
    #[must_use]
    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.push(line.into());
        self
    }

    /// Sets a variable in the server's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether the server waits for its disk.
    #[must_use]
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// Makes the cluster here and leaves it running when the value is dropped.
    #[must_use]
    pub fn stays_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Makes and starts the cluster.
    ///
    /// # Errors
    /// When initdb or the server fails; the error carries what they said.
    pub fn start(self) -> Result<Cluster> {
        let bin = bin_dir(self.version);
        ensure!(
            bin.join("initdb").exists(),
            "there is no PostgreSQL {} in {}: run `cargo check-all`",
            self.version,
            bin.display()
        );
        let cluster = Cluster::in_folder(self.version, bin, self.folder.clone(), self.environment.clone())?;
        cluster.initialize(&self)?;
        cluster.start_server()?;
        Ok(cluster)
    }
}

/// A server of our own.
#[derive(Debug)]
pub struct Cluster {
    version: PgVersion,
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    _guard: Option<Guard>,
}

impl Cluster {
    /// Makes and starts a cluster with the usual settings.
    ///
    /// # Errors
    /// When initdb or the server fails.
    pub fn start(version: PgVersion) -> Result<Self> {
        ClusterBuilder::new(version).start()
    }

    /// The folder of a cluster that is to be made: the one named, which stays, or one that goes with the value.
    fn in_folder(
        version: PgVersion,
        bin: PathBuf,
        named: Option<PathBuf>,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let stays = named.is_some();
        let folder = match named {
            Some(folder) => {
                std::fs::create_dir_all(&folder)?;
                folder
            }
            // /var/tmp: the socket's path must stay under 108 bytes, which a target folder's seldom does.
            None => tempfile::Builder::new().prefix("pgek-").tempdir_in("/var/tmp")?.keep(),
        };
        let guard = if stays { None } else { Some(Guard::watch(&bin.join("pg_ctl"), &folder)?) };
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        give_to_server(&folder)?;
        Ok(Self { version, bin, folder, port: free_port()?, environment, _guard: guard })
    }

    /// Makes and starts a hot standby of this server.
    ///
    /// # Errors
    /// When the copy or the server fails.
    pub fn standby(&self) -> Result<Self> {
        let standby = Self::in_folder(self.version, self.bin.clone(), None, self.environment.clone())?;
        let mut copy = unprivileged(self.program("pg_basebackup"));
        copy.arg("-D").arg(standby.data()).args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", SUPERUSER]);
        read(copy.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]))?;
        let mut conf = OpenOptions::new().append(true).open(standby.data().join("postgresql.conf"))?;
        writeln!(conf, "unix_socket_directories = '{}'\nport = {}", standby.folder.display(), standby.port)?;
        standby.start_server()?;
        Ok(standby)
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> PgVersion {
        self.version
    }

    /// The folder of the socket; for a client it is the host.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.folder
    }

    /// The port, which with a unix socket is a part of its name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of this server.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn initialize(&self, wanted: &ClusterBuilder) -> Result<()> {
        read(unprivileged(self.program("initdb")).arg("-D").arg(self.data()).args([
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]))?;
        let mut conf = OpenOptions::new().append(true).open(self.data().join("postgresql.conf"))?;
        writeln!(conf, "listen_addresses = ''")?;
        writeln!(conf, "unix_socket_directories = '{}'", self.folder.display())?;
        writeln!(conf, "port = {}", self.port)?;
        writeln!(conf, "fsync = {}", if wanted.fsync { "on" } else { "off" })?;
        // The messages that tests compare must not depend on who runs them.
        writeln!(conf, "lc_messages = 'C'\ntimezone = 'UTC'\nlog_timezone = 'UTC'")?;
        for line in &wanted.settings {
            writeln!(conf, "{line}")?;
        }
        Ok(())
    }

    /// Starts the server again after [`Cluster::stop`] or [`Cluster::kill_server`], recovery included.
    ///
    /// # Errors
    /// When it does not come up; the error carries the end of its log.
    pub fn start_server(&self) -> Result<()> {
        let mut start = unprivileged(self.program("pg_ctl"));
        start.arg("-D").arg(self.data()).arg("-l").arg(self.log_file());
        start.args(["-w", "-t", &PATIENCE.as_secs().to_string(), "start"]).stdin(Stdio::null());
        start.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let answer = output(&mut start)?;
        if !answer.status.success() {
            let log = self.log().unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            bail!(
                "PostgreSQL {} does not start\n{}{}\n{}",
                self.version,
                String::from_utf8_lossy(&answer.stdout),
                String::from_utf8_lossy(&answer.stderr),
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    }

    /// Stops the server; open transactions are rolled back.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&self) -> Result<()> {
        stop_server(&self.program("pg_ctl"), &self.data())
    }

    /// Stops and starts the server.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start_server()
    }

    /// SIGKILL to the server and all of its processes at once, as when the machine goes down.
    ///
    /// # Errors
    /// When the server does not run or does not die.
    pub fn kill_server(&self) -> Result<()> {
        let postmaster = self.postmaster()?;
        let mut dying = vec![postmaster];
        dying.extend(children_of(postmaster)?);
        for pid in &dying {
            // A child may be gone already.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let deadline = Instant::now() + PATIENCE;
        while let Some(pid) = dying.iter().find(|pid| parent_if_alive(**pid).is_some()) {
            ensure!(Instant::now() < deadline, "process {pid} of the server survives SIGKILL");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Where nobody reaps orphans the dead postmaster stays a zombie, which the next one takes for alive.
        if Path::new(&format!("/proc/{postmaster}")).exists() {
            for file in [self.data().join("postmaster.pid"), self.folder.join(format!(".s.PGSQL.{}.lock", self.port))] {
                std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// SIGKILL to one backend; the server restarts its processes and recovers.
    ///
    /// # Errors
    /// When there is no such backend of this server.
    pub fn kill_backend(&self, pid: i32) -> Result<()> {
        ensure!(parent_if_alive(pid) == Some(self.postmaster()?), "process {pid} is no backend of this server");
        kill(Pid::from_raw(pid), Signal::SIGKILL).context("cannot kill the backend")
    }

    /// SIGKILL to each of some backends, before the server sees that one of them is gone and ends the others itself.
    ///
    /// # Errors
    /// When one is no backend of this server.
    pub fn kill_backends(&self, pids: &[i32]) -> Result<()> {
        let postmaster = Pid::from_raw(self.postmaster()?);
        kill(postmaster, Signal::SIGSTOP).context("cannot stop the server")?;
        let killed = pids.iter().try_for_each(|pid| self.kill_backend(*pid));
        kill(postmaster, Signal::SIGCONT).context("cannot let the server go on")?;
        killed
    }

    /// The server's own process.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn postmaster(&self) -> Result<i32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).context("the server does not run")?;
        file.lines().next().unwrap_or_default().trim().parse().context("postmaster.pid has no process id")
    }

    /// Waits until the server answers, as after a crash of a backend.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.connect("postgres") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// All that the server has logged.
    ///
    /// # Errors
    /// When there is no log.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(self.log_file()).context("there is no server log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How to connect to a database as the superuser; change it for another role or application name.
    #[must_use]
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).port(self.port).user(SUPERUSER).dbname(database);
        config
    }

    /// Connects as the superuser.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn connect(&self, database: &str) -> Result<Client> {
        self.config(database).connect(NoTls).with_context(|| format!("cannot connect to database {database}"))
    }

    /// Connects as some other role.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn connect_as(&self, database: &str, role: &str) -> Result<Client> {
        self.config(database)
            .user(role)
            .connect(NoTls)
            .with_context(|| format!("cannot connect to database {database} as {role}"))
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn create_database(&self, name: &str) -> Result<()> {
        self.connect("postgres")?.batch_execute(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))?;
        Ok(())
    }

    /// Creates the extension in a database.
    ///
    /// # Errors
    /// When the server refuses, as when the extension is not installed.
    pub fn create_extension(&self, database: &str) -> Result<()> {
        self.connect(database)?
            .batch_execute("CREATE EXTENSION pg_eventkit CASCADE")
            .context("CREATE EXTENSION pg_eventkit fails")
    }

    /// A client program of this server (psql, pg_dump, …) with the connection set; the caller adds the rest.
    #[must_use]
    pub fn client_program(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command
            .env_remove("LD_LIBRARY_PATH")
            .env("PGHOST", &self.folder)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGAPPNAME", name)
            .env("PGTZ", "UTC")
            .env("PAGER", "");
        command
    }

    /// Runs psql with these arguments in the folder of the checkout, without a start-up file; SQL comes by `-c` or `-f`.
    ///
    /// # Errors
    /// When psql cannot be started; what the server said of the SQL is in the output.
    pub fn psql<I, S>(&self, database: &str, args: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut psql = self.client_program("psql");
        psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", database])
            .args(args)
            .stdin(Stdio::null())
            .current_dir(checkout());
        output(&mut psql)
    }
}

/// Stops the server in a data folder.
///
/// # Errors
/// When it does not stop.
pub fn stop_server(pg_ctl: &Path, data: &Path) -> Result<()> {
    let mut stop = unprivileged(pg_ctl);
    stop.arg("-D").arg(data).args(["-m", "fast", "-w", "-t", &PATIENCE.as_secs().to_string(), "stop"]);
    read(&mut stop).map(drop)
}

/// A port that nobody listens on, so that a test which opens TCP finds it free.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The parent of a process that lives; a zombie does not.
fn parent_if_alive(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields count from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    if state == "Z" || state == "X" { None } else { Some(parent) }
}

fn children_of(parent: i32) -> Result<Vec<i32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        if parent_if_alive(pid) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}
