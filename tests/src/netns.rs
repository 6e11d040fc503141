//! Networks for one test: namespaces that see only what they are plugged into.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::needs;

/// A network namespace. It has loopback, and nothing else until it is linked. It goes when this is dropped, with all
/// its interfaces.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `label` tells a person who lists namespaces what it is for.
    pub fn new(label: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        needs::root()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("magpie-{}-{number}-{label}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A command that will run inside. `ip` replaces itself by the program, so signals reach it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Moves the calling thread inside, for good: the sockets that it opens from now on are here, and so is whatever thread or program it
    /// starts. The other threads stay where they are.
    pub fn enter(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter {path}"))
    }

    /// Makes what leaves through `interface` leave at no more than this rate (`256kbit`), or as fast as it can. What is queued for longer than
    /// 400 ms is dropped, as a modem does.
    pub fn set_rate(&self, interface: &str, rate: Option<&str>) -> Result<()> {
        let name = &self.name;
        match rate {
            Some(rate) => run(
                "tc",
                &format!("-n {name} qdisc replace dev {interface} root tbf rate {rate} burst 16k latency 400ms"),
            ),
            None => run("tc", &format!("-n {name} qdisc delete dev {interface} root")),
        }
    }

    /// Loses so many of a hundred packets that come in by `interface`.
    pub fn set_loss(&self, interface: &str, percent: u32) -> Result<()> {
        let rules = format!(
            "table inet loss {{ }}; delete table inet loss; table inet loss {{ chain in {{ type filter hook input priority 0; \
             iifname {interface} numgen random mod 100 < {percent} drop; }}; }}"
        );
        let output = self.command("nft").arg(&rules).output().context("cannot run nft: install nftables")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft {rules} failed: {}", said.trim());
        Ok(())
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing to be done about a failure here; the name says which test left it.
        let _ = ip(&format!("netns delete {}", self.name));
    }
}

/// A cable: the two interfaces, called `interface` in each namespace, with these addresses (`10.0.0.1/24`).
pub fn cable(interface: &str, ends: [(&Namespace, &str); 2]) -> Result<()> {
    let [(left, left_address), (right, right_address)] = ends;
    ip(&format!("link add {interface} netns {} type veth peer {interface} netns {}", left.name, right.name))?;
    for (namespace, address) in [(left, left_address), (right, right_address)] {
        namespace.ip(&format!("address add {address} dev {interface}"))?;
        namespace.ip(&format!("link set {interface} up"))?;
    }
    Ok(())
}

/// One Ethernet that several namespaces are on.
pub struct Switch {
    namespace: Namespace,
    ports: u32,
}

impl Switch {
    /// A switch with nothing plugged in.
    pub fn new() -> Result<Self> {
        let namespace = Namespace::new("switch")?;
        // Without multicast snooping: with it, and with no router to ask for memberships, a bridge loses mDNS.
        namespace.ip("link add bridge type bridge mcast_snooping 0")?;
        namespace.ip("link set bridge up")?;
        Ok(Self { namespace, ports: 0 })
    }

    /// Pulls the plug that went in as the `port`th, from 1 on, or puts it back. Whoever is behind it sees the carrier go, and nothing is said
    /// to the other ends of its connections.
    pub fn set_plugged(&self, port: u32, plugged: bool) -> Result<()> {
        self.namespace.ip(&format!("link set port{port} {}", if plugged { "up" } else { "down" }))
    }

    /// Makes what goes to the `port`th plug go at no more than this rate (`256kbit`).
    pub fn set_rate(&self, port: u32, rate: &str) -> Result<()> {
        self.namespace.set_rate(&format!("port{port}"), Some(rate))
    }

    /// Gives a namespace an interface `eth0` on this Ethernet.
    pub fn plug(&mut self, namespace: &Namespace, address: &str) -> Result<()> {
        self.ports += 1;
        let (port, switch) = (format!("port{}", self.ports), &self.namespace);
        ip(&format!("link add eth0 netns {} type veth peer {port} netns {}", namespace.name, switch.name))?;
        switch.ip(&format!("link set {port} master bridge up"))?;
        namespace.ip(&format!("address add {address} dev eth0"))?;
        namespace.ip("link set eth0 up")
    }
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments)
}

/// No argument here has a space in it.
fn run(program: &str, arguments: &str) -> Result<()> {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .with_context(|| format!("cannot run {program}: install iproute2"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments} failed: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(from: &Namespace, address: &str) -> bool {
        let probe = format!("exec 3<>/dev/tcp/{address}/9");
        let output = from.command("timeout").args(["5", "bash", "-c", &probe]).output().unwrap();
        // Nobody listens: a refusal shows that the machine is there.
        String::from_utf8_lossy(&output.stderr).contains("refused")
    }

    #[test]
    fn a_namespace_reaches_what_it_is_plugged_into_and_nothing_else() {
        let [left, middle, right] = ["left", "middle", "right"].map(|label| Namespace::new(label).unwrap());
        cable("ab", [(&left, "10.1.0.1/24"), (&middle, "10.1.0.2/24")]).unwrap();
        let mut switch = Switch::new().unwrap();
        switch.plug(&middle, "10.2.0.2/24").unwrap();
        switch.plug(&right, "10.2.0.3/24").unwrap();
        assert!(reaches(&left, "127.0.0.1") && reaches(&left, "10.1.0.2") && reaches(&right, "10.2.0.2"));
        assert!(!reaches(&left, "10.2.0.3") && !reaches(&right, "10.1.0.1"));
    }
}
