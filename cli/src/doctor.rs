//! `magpie doctor`: looks over everything that a node depends on, and says in plain words what is wrong and what to do.
//!
//! Each part below looks at one thing and gives findings. It only looks: nothing is written but a probe file in the state
//! directory, and a running node is asked instead of the buses that it owns.

mod clock;
mod disk;
mod finding;
mod i2c;
mod machine;
mod mesh;
mod node;
mod sensors;
mod sys;

use finding::State;
use sys::Sys;

use crate::args::DoctorArgs;
use crate::exit::Exit;
use crate::output;

pub async fn run(args: DoctorArgs) -> anyhow::Result<Exit> {
    let sys = Sys::of_this_machine();
    let mut findings = machine::look(&sys);
    let (config, problems) = node::configuration(args.config);
    findings.extend(problems);
    let address = crate::node::address(args.http, &config);
    let running = node::ask(address).await;
    findings.extend(node::look(address, running.as_ref()));
    let is_simulated = config.simulate || running.as_ref().is_some_and(node::Running::is_simulated);
    let (buses, found) = if is_simulated { Default::default() } else { i2c::look(&sys, &config.sensors) };
    findings.extend(found);
    findings.extend(sensors::look(&sys, &config.sensors, buses, running.as_ref()).await?);
    findings.extend(clock::look(&sys)?);
    findings.extend(disk::look(&sys, &config, running.as_ref()));
    findings.extend(mesh::look(&config.mesh, running.as_ref()).await);
    for finding in &findings {
        output::line(&if args.json { serde_json::to_string(finding)? } else { finding.to_string() })?;
    }
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    Ok(if worst == State::Problem { Exit::Failed } else { Exit::Done })
}
