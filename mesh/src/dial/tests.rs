//! Whom to dial, under a clock of the test's own.

use super::*;

const LONG: Duration = Duration::from_secs(60);

struct Bench {
    dialer: Dialer,
    now: Instant,
    low: PeerId,
    high: PeerId,
}

fn sorted_peers() -> [PeerId; 3] {
    let mut peers = [PeerId::random(), PeerId::random(), PeerId::random()];
    peers.sort();
    peers
}

fn bench(listens: bool) -> Bench {
    let [low, own, high] = sorted_peers();
    Bench { dialer: Dialer::new(own, listens, Timing::default(), 7), now: Instant::now(), low, high }
}

fn at(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

impl Bench {
    fn due(&mut self) -> Vec<Dial> {
        self.dialer.due(self.now)
    }

    fn end(&mut self, dial: &Dial, outcome: Outcome) {
        self.dialer.ended(&dial.key, outcome, self.now);
        if let Outcome::Connected(peer) = outcome {
            self.dialer.connected(peer);
        }
    }

    /// Seconds until something is due.
    fn wait(&mut self) -> f64 {
        let start = self.now;
        loop {
            let due = self.due();
            if !due.is_empty() {
                due.iter().for_each(|dial| self.dialer.dialling.retain(|key| *key != dial.key));
                return (self.now - start).as_secs_f64();
            }
            self.now += Duration::from_millis(50);
            assert!(self.now - start < Duration::from_secs(1000));
        }
    }
}

#[test]
fn a_configured_address_is_dialled_for_ever_and_never_long_apart() {
    let mut bench = bench(true);
    bench.dialer.configure(&at(1), bench.now);
    for _ in 0..50 {
        assert!(bench.wait() <= 3.0);
        let dial = bench.due().remove(0);
        assert_eq!((dial.expected, &dial.addresses[..]), (None, &[at(1)][..]));
        assert!(bench.due().is_empty(), "one dial at a time");
        bench.end(&dial, Outcome::Failed);
    }
}

#[test]
fn whoever_is_connected_is_not_dialled_and_is_again_when_it_goes() {
    let mut bench = bench(true);
    bench.dialer.configure(&at(1), bench.now);
    let dial = bench.due().remove(0);
    let high = bench.high;
    bench.end(&dial, Outcome::Connected(high));
    bench.now += Duration::from_secs(100);
    assert!(bench.due().is_empty());
    bench.dialer.disconnected(high, LONG, bench.now);
    assert!(bench.wait() <= 0.25, "lower PeerId: at once");
    let dial = bench.due().remove(0);
    bench.end(&dial, Outcome::Failed);
    bench.now += Duration::from_secs(3);
    let dial = bench.due().remove(0);
    let low = bench.low;
    bench.end(&dial, Outcome::Connected(low));
    bench.dialer.disconnected(low, LONG, bench.now);
    let waited = bench.wait();
    assert!((3.0..3.3).contains(&waited), "higher PeerId: after the other had its turn, {waited}");
}

#[test]
fn of_two_that_find_each_other_the_lower_dials_first() {
    let mut bench = bench(true);
    let (low, high) = (bench.low, bench.high);
    bench.dialer.found(high, at(1), bench.now);
    bench.dialer.found(low, at(2), bench.now);
    let due = bench.due();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].expected, &due[0].addresses), (Some(high), &vec![at(1)]));
    bench.end(&due[0], Outcome::Connected(high));
    let waited = bench.wait();
    assert!((2.9..3.1).contains(&waited), "{waited}");
}

#[test]
fn who_cannot_be_dialled_waits_for_nobody() {
    let mut bench = bench(false);
    let low = bench.low;
    bench.dialer.found(low, at(2), bench.now);
    assert_eq!(bench.due().len(), 1);
}

#[test]
fn a_peer_that_hangs_up_at_once_is_not_pestered() {
    let mut bench = bench(true);
    let high = bench.high;
    bench.dialer.configure(&at(1), bench.now);
    let start = bench.now;
    for _ in 0..20 {
        bench.wait();
        let dial = bench.due().remove(0);
        bench.end(&dial, Outcome::Connected(high));
        bench.dialer.disconnected(high, Duration::from_millis(5), bench.now);
    }
    assert!(bench.now - start > Duration::from_secs(40), "{:?}", bench.now - start);
}

#[test]
fn the_first_failure_of_a_configured_address_is_news() {
    let mut bench = bench(true);
    bench.dialer.configure(&at(1), bench.now);
    bench.dialer.try_local(&at(2), bench.now);
    let mut news = Vec::new();
    for _ in 0..5 {
        for dial in bench.due() {
            if bench.dialer.ended(&dial.key, Outcome::Failed, bench.now) {
                news.push(dial.key);
            }
        }
        bench.now += Duration::from_secs(5);
    }
    assert_eq!(news, [Key::Address(at(1))]);
}

#[test]
fn a_new_announcement_replaces_the_addresses_of_the_old_one() {
    let mut bench = bench(false);
    let high = bench.high;
    bench.dialer.ask(high, [at(1)], bench.now);
    bench.dialer.ask(high, [at(2)], bench.now);
    assert_eq!(bench.due()[0].addresses, [at(2)]);
}

#[test]
fn a_refusal_tells_who_is_there() {
    let mut bench = bench(true);
    let high = bench.high;
    bench.dialer.connected(high);
    bench.dialer.configure(&at(1), bench.now);
    let dial = bench.due().remove(0);
    bench.end(&dial, Outcome::Refused(high));
    bench.now += Duration::from_secs(60);
    assert!(bench.due().is_empty());
    bench.dialer.disconnected(high, LONG, bench.now);
    assert!(bench.wait() <= 0.25);
}

#[test]
fn we_never_dial_ourselves_twice_in_a_row() {
    let mut bench = bench(true);
    let own = bench.dialer.own;
    bench.dialer.configure(&at(1).with_p2p(own).unwrap(), bench.now);
    bench.dialer.found(own, at(1), bench.now);
    assert!(!bench.dialer.ask(own, [at(1)], bench.now));
    assert!(bench.due().is_empty());
    bench.dialer.configure(&at(2), bench.now);
    let dial = bench.due().remove(0);
    bench.end(&dial, Outcome::Ourselves);
    assert!(bench.wait() >= 59.0);
}

#[test]
fn announced_peers_are_dialled_when_asked_for_and_forgotten_when_they_never_answer() {
    let mut bench = bench(true);
    let high = bench.high;
    let mut dials = 0;
    for _ in 0..10_000 {
        if !bench.dialer.ask(high, [at(1)], bench.now) {
            bench.now += Duration::from_secs(1);
            continue;
        }
        if let Some(dial) = bench.due().pop() {
            dials += 1;
            bench.end(&dial, Outcome::Failed);
            assert!(bench.due().is_empty(), "not again before somebody asks");
        }
        bench.now += Duration::from_secs(1);
    }
    assert!((30..150).contains(&dials), "{dials} dials in 10,000 s");
}

#[test]
fn the_table_is_bounded_and_so_is_what_is_under_way() {
    let mut bench = bench(false);
    for port in 0..3000 {
        bench.dialer.ask(PeerId::random(), (0..40).map(|offset| at(port + offset + 1)), bench.now);
    }
    assert_eq!(bench.dialer.targets.len(), MAX_PEERS);
    assert!(bench.dialer.targets.values().all(|target| target.addresses.len() == MAX_ADDRESSES));
    assert_eq!(bench.due().len(), MAX_DIALLING);
    assert!(bench.due().is_empty());
}

#[test]
fn mdns_is_enough_with_a_dozen_peers_and_forgets_what_is_gone() {
    let mut bench = bench(false);
    let high = bench.high;
    for _ in 0..ENOUGH_PEERS {
        bench.dialer.connected(PeerId::random());
    }
    bench.dialer.found(high, at(1), bench.now);
    assert!(bench.due().is_empty());
    bench.dialer.lost(high, &at(1));
    assert!(bench.dialer.targets.is_empty());
}

#[test]
fn addresses_that_name_another_peer_or_no_tcp_are_not_taken() {
    let mut bench = bench(false);
    let (low, high) = (bench.low, bench.high);
    let quic: Multiaddr = "/ip4/127.0.0.1/udp/4710/quic-v1".parse().unwrap();
    bench.dialer.ask(high, [at(1).with_p2p(low).unwrap(), quic, at(2).with_p2p(high).unwrap()], bench.now);
    assert_eq!(bench.due()[0].addresses, [at(2)]);
}
