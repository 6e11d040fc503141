//! A child that counts the frames of readings that it hears.

use anyhow::{Context, Result, bail};
use bench::orders::Orders;
use bench::tally;
use mesh::{Config, MeshEvent};
use prometheus_client::registry::Registry;
use reading::Kind;

use bench::load;

pub async fn run(publisher: String) -> Result<()> {
    let selector = format!("{}/#", tests::magpie::PLACE).parse()?;
    let config = Config { connect: vec![publisher], interest: vec![selector], ..load::mesh_config(0) };
    let (_mesh, mut events) = mesh::start(config, &mut Registry::default()).await?;
    tally::count(Orders::read(), async || {
        loop {
            match events.next().await.context("the mesh has ended")? {
                MeshEvent::Frame { frame, .. } if frame.kind() == Kind::READINGS => return Ok(load::made_us(&frame)),
                MeshEvent::Lagged { dropped } => bail!("{dropped} events were lost within the subscriber"),
                _ => {}
            }
        }
    })
    .await
}
