//! QEMU's control channel (QMP): one command, one answer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once, unless it hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to a running QEMU.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes up the conversation on a connection that QEMU just made.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).context("QMP socket")?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("this is not QEMU's greeting: {greeting}");
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its result.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").with_context(|| format!("cannot send {request} to QEMU"))?;
        loop {
            let mut answer = self.read()?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {request}: {}", error["desc"].as_str().unwrap_or_default());
            }
            // An event: nobody asked.
        }
    }

    /// Sets a property of a device that was given an `id`.
    pub fn set(&mut self, device: &str, property: &str, value: &Value) -> Result<()> {
        let path = format!("/machine/peripheral/{device}");
        self.execute("qom-set", &json!({ "path": path, "property": property, "value": value }))?;
        Ok(())
    }

    /// A property of a device that was given an `id`.
    pub fn get(&mut self, device: &str, property: &str) -> Result<Value> {
        let path = format!("/machine/peripheral/{device}");
        self.execute("qom-get", &json!({ "path": path, "property": property }))
    }

    /// Runs a command of the monitor that people use, for the few things that QMP has no command for.
    pub fn monitor(&mut self, command_line: &str) -> Result<String> {
        let text = self.execute("human-monitor-command", &json!({ "command-line": command_line }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).context("QEMU does not answer")?;
        if length == 0 {
            bail!("QEMU has ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU's answer is no JSON: {line}"))
    }
}
