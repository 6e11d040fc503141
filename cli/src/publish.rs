//! `magpie pub`: publish values from a script, as one or many nodes.

use std::time::Duration;

use anyhow::Context;
use mesh::{Events, Mesh};
use node::clock::Clock;
use prometheus_client::registry::Registry;
use reading::{
    Announcement, Author, Epoch, Flag, Label, Payload, Place, Quantity, Reading, Readings, Reason, Sensor, Text,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::args::PubArgs;
use crate::exit::Exit;
use crate::{meeting, output};

/// How often a listener is looked for.
const RETRY: Duration = Duration::from_millis(100);

pub async fn run(args: PubArgs) -> anyhow::Result<Exit> {
    let mut authors = JoinSet::new();
    for index in 0..args.nodes {
        let place = place(&args, index)?;
        authors.spawn(publish(args.meet.clone(), place, args.values.clone(), args.rate, args.count, args.timeout));
    }
    let mut unheard = 0;
    while let Some(ended) = authors.join_next().await {
        if !ended.context("a publisher panicked")?? {
            unheard += 1;
        }
    }
    if unheard > 0 {
        output::complain(&format!(
            "magpie: {unheard} of {} publishers found nobody who listens; {}",
            args.nodes,
            meeting::where_searched(&args.meet)
        ));
        return Ok(Exit::TimeRanOut);
    }
    Ok(Exit::Done)
}

/// One node keeps its names; of many each gets its number.
fn place(args: &PubArgs, index: u16) -> anyhow::Result<Place> {
    let numbered = |label: &Label, count: u16, index: u16| {
        if count == 1 { Ok(label.clone()) } else { Label::new(&format!("{label}-{}", index + 1)) }
    };
    Ok(Place {
        city: args.city.clone(),
        area: numbered(&args.area, args.areas, index % args.areas)?,
        node: numbered(&args.name, args.nodes, index)?,
    })
}

/// Whether anybody listened.
async fn publish(
    meet: crate::args::MeetArgs,
    place: Place,
    values: Vec<(Quantity, f32)>,
    rate: f64,
    count: u64,
    patience: Duration,
) -> anyhow::Result<bool> {
    let key = meeting::new_key()?;
    let mut epoch = [0; 8];
    getrandom::fill(&mut epoch).context("the system gives no randomness")?;
    let mut clock = Clock::new().context("cannot read this machine's clocks")?;
    let mut author = Author::new(key.clone(), Epoch(epoch), clock.boot());
    let config = mesh::Config { member: Some((place.city.clone(), place.area.clone())), ..meeting::config(&meet, key) };
    let (mesh, events) = mesh::start(config, &mut Registry::default()).await.context("cannot join the mesh")?;
    let draining = tokio::spawn(drain(events));

    let topic = mesh::area_topic(&place.city, &place.area);
    // Published first: listeners learn the area from it, and only then follow the area's topic.
    mesh.publish(author.sign(clock.stamp(), &Payload::Announcement(announcement(place)))?).await?;
    let heard = wait_for_listener(&mesh, &topic, patience).await?;
    if heard {
        let readings: Vec<Reading> = values.into_iter().map(|(quantity, value)| reading(quantity, value)).collect();
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 0..count {
            ticks.tick().await;
            let payload = Payload::Readings(Readings { announcement: 1, readings: readings.clone() });
            mesh.publish(author.sign(clock.stamp(), &payload)?).await?;
        }
    }
    meeting::leave(mesh).await;
    draining.abort();
    Ok(heard)
}

async fn wait_for_listener(mesh: &Mesh, topic: &str, patience: Duration) -> anyhow::Result<bool> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if mesh.peers().await?.iter().any(|peer| peer.topics.iter().any(|followed| followed == topic)) {
            return Ok(true);
        }
        tokio::time::sleep(RETRY).await;
    }
    Ok(false)
}

/// Nobody here wants to hear anything.
async fn drain(mut events: Events) {
    while events.next().await.is_some() {}
}

fn announcement(place: Place) -> Announcement {
    let sensor = Sensor {
        model: Text::lossy("script"),
        bus: Text::default(),
        address: 0,
        serial: Text::default(),
        correction: Text::default(),
        simulated: false,
    };
    Announcement {
        place,
        addresses: Vec::new(),
        sensors: vec![sensor],
        firmware: Text::lossy(env!("CARGO_PKG_VERSION")),
        position: None,
        previous: None,
        certificate: Vec::new(),
    }
}

/// Nothing here has tested the value.
fn reading(quantity: Quantity, value: f32) -> Reading {
    Reading { sensor: 0, quantity, value: Some(value), raw: None, flag: Flag::NOT_EVALUATED, reason: Reason::NONE }
}
