//! Fifty nodes and their subscribers, most of them in one process, through churn, a partition, slow links, wrong clocks and kill -9.
//!
//! A city has two halves, each in a network of its own with a cable between. What happens when to whom is drawn from a seed, which is printed;
//! `MAGPIE_SEED` repeats it. Timers are those of the product.

mod city;
mod follower;
mod member;

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use mesh::Since;

use self::city::City;

/// For everything to arrive, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn fifty_nodes_through_churn_a_partition_slow_links_wrong_clocks_and_kill() -> Result<()> {
    let seed = std::env::var("MAGPIE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now_us);
    println!("MAGPIE_SEED={seed}");
    let began = Instant::now();
    let mut city = City::new(seed)?;
    println!("{:.1?} until all were started", began.elapsed());
    city.follow("east, from the beginning", 0, Since::Beginning)?;
    city.follow("west, from the beginning", 1, Since::Beginning)?;
    let hour_ago_us = i64::try_from(now_us())? - 3_600_000_000;
    city.follow("behind a slow link, since an hour ago", 2, Since::Time { time_us: hour_ago_us })?;
    city.all_are_heard(PATIENCE)?;
    println!("{:.1?} until all were heard", began.elapsed());

    let (began, plan) = (Instant::now(), city.plan());
    for (at, event) in plan {
        thread::sleep((began + at).saturating_duration_since(Instant::now()));
        println!("{:>5.1} s: {event:?}", at.as_secs_f64());
        city.happens(event)?;
    }
    city.follow("late, from the beginning", 1, Since::Beginning)?;
    println!("{}", city.everybody_has_everything_once(PATIENCE)?);
    Ok(())
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}
