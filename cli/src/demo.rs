//! `magpie demo`: five simulated nodes and a live view in one process. Loopback only, no root, nothing left behind.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context;
use node::{
    ChipConfig, Config, DialAddress, HttpConfig, ListenAddress, MeshConfig, Node, PublishConfig, SensorsConfig,
};
use prometheus_client::registry::Registry;
use reading::{Label, Quantity, Selector};
use service::Program;

use crate::args::{DemoArgs, View};
use crate::exit::Exit;
use crate::output;
use crate::view::{self, Table};

/// Area, name, seconds between readings, chips.
const NODES: [(&str, &str, u64, &[hal::Model]); 5] = [
    ("riverside", "bridge", 1, &[hal::Model::Bme280]),
    ("riverside", "school", 2, &[hal::Model::Sht4x, hal::Model::Pmsa003i]),
    ("hillside", "library", 5, &[hal::Model::Scd4x, hal::Model::Bme280]),
    ("hillside", "roof", 3, &[hal::Model::Bme280, hal::Model::Pmsa003i]),
    ("harbour", "crane", 5, hal::Model::SIMULATED),
];

pub async fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    let state = tempfile::tempdir().context("cannot make a temporary directory for the demo")?;
    let port = free_port()?;
    let meeting_point = format!("/ip4/127.0.0.1/tcp/{port}");
    let mut program = Program::new();
    for (index, (area, name, seconds, models)) in NODES.into_iter().enumerate() {
        let first = index == 0;
        let config = Config {
            city: Label::new("demo")?,
            area: Label::new(area)?,
            name: Some(Label::new(name)?),
            state: state.path().join(name),
            simulate: true,
            mesh: MeshConfig {
                listen: vec![ListenAddress(if first {
                    meeting_point.clone()
                } else {
                    "/ip4/127.0.0.1/tcp/0".to_owned()
                })],
                connect: if first { Vec::new() } else { vec![DialAddress(meeting_point.clone())] },
                announce: Vec::new(),
                mdns: false,
                local: false,
            },
            sensors: SensorsConfig {
                chips: chips(models),
                interval: Duration::from_secs(seconds),
                ..SensorsConfig::default()
            },
            publish: plain_topics(),
            http: HttpConfig { listen: None },
            ..Config::default()
        };
        Node::start(config, &mut program).await.with_context(|| format!("cannot start the demo's node {name}"))?;
    }

    let config = mesh::Config {
        connect: vec![meeting_point.clone()],
        interest: vec![Selector::ALL],
        ..mesh::Config::new(crate::meeting::new_key()?)
    };
    let (mesh, events) = mesh::start(config, &mut Registry::default()).await.context("cannot join the demo's mesh")?;
    let table = match args.view {
        View::Table => true,
        View::Lines => false,
        View::Auto => output::is_terminal(),
    };
    // As this program was called: after `make demo` there is no `magpie` on the PATH.
    let mut try_this = format!("{} sub temperature", std::env::args().next().as_deref().unwrap_or("magpie"));
    if port != mesh::PORT {
        try_this = format!("{try_this} --connect {meeting_point}");
    }
    output::complain(&format!("Five simulated nodes. Ctrl-C ends it. In a second terminal: {try_this}"));
    program.spawn("view", async move |stop| {
        let shown = if table {
            view::table(events, Table::new(try_this), &stop).await
        } else {
            view::lines(events, &stop).await
        };
        crate::meeting::leave(mesh).await;
        shown
    });
    let ended = match args.timeout {
        None => program.run_until_signal().await,
        Some(timeout) => {
            program
                .run_until(async {
                    tokio::select! {
                        () = tokio::time::sleep(timeout) => {}
                        () = service::stop_requested() => {}
                    }
                })
                .await
        }
    };
    match ended {
        // Whoever reads our lines has had enough.
        Err(ended) if view::is_closed_pipe(&ended) => Ok(Exit::Done),
        ended => ended.map(|()| Exit::Done).map_err(Into::into),
    }
}

/// The usual port, so that `magpie sub` finds the demo by itself; another where a real node has it, since a demo must not mix with that.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", mesh::PORT))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn chips(models: &[hal::Model]) -> Vec<ChipConfig> {
    models.iter().map(|model| ChipConfig::new(*model)).collect()
}

fn plain_topics() -> PublishConfig {
    let topics = [Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PM2_5, Quantity::CO2];
    PublishConfig { plain: topics.into_iter().map(|quantity| (quantity, quantity.to_string())).collect() }
}
