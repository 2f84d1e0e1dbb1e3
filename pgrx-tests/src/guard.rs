//! A process that removes a cluster when its owner is gone, also when the owner was killed or left it in a static.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context, Result};

use crate::account::is_root;

/// Waits on a pipe; when the owner closes it, or dies, the server is stopped and its folder removed.
#[derive(Debug)]
pub(crate) struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn watch(pg_ctl: &Path, folder: &Path) -> Result<Self> {
        // The shell stays what the owner is, so that it may remove the folder; only pg_ctl runs unprivileged.
        let script = r#"read -r _; cd /; $1 "$2" -D "$3/data" -m immediate stop; rm -rf "$3""#;
        let prefix =
            if is_root() { format!("runuser -u {} --", crate::account::SERVER_ACCOUNT) } else { "env".to_owned() };
        let mut process = std::process::Command::new("sh")
            .args(["-c", script, "guard", &prefix])
            .arg(pg_ctl)
            .arg(folder)
            .stdin(Stdio::piped())
            // Inherited, they would keep the pipes of whoever reads the owner's output open.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C ends the owner, not the guard.
            .process_group(0)
            .spawn()
            .context("cannot start the guard of a cluster")?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing can be done about a guard that fails, and a drop must not fail.
        let _ = self.process.wait();
    }
}
