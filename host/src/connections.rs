//! The open connections: whose they are, what each waits for, and which one gives way to another.
//!
//! A client holds a place by asking nothing, or by reading nothing. So each connection knows since
//! when it has waited for its client: that is bounded, and where places run out, the one that has
//! waited the longest is closed for the newcomer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{errors, limits::Limits};

/// How often overdue connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// The share of one client in what all have: a quarter, and at least one.
const SHARES: usize = 4;

/// The part of all requests that is left to clients that were refused lately: a half.
const PART_OF_REFUSED: usize = 2;

/// How long a client counts as refused after it was.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Clients that are remembered as refused.
const MOST_REFUSED: usize = 10_000;

/// All connections of a server, and the requests that are in the component.
pub(crate) struct Connections {
    limits: Limits,
    open: Mutex<Vec<Arc<Connection>>>,
    /// Told when a place is free again.
    freed: Notify,
    requests: Arc<Semaphore>,
    /// Those of them that clients may have which were refused lately.
    refused_requests: Arc<Semaphore>,
    refused: Mutex<HashMap<IpAddr, Instant>>,
    drained: AtomicBool,
}

/// Whoever is at the other end of one connection or several.
struct Client {
    network: IpAddr,
    /// Speaks for many, and has no share of its own.
    is_proxy: bool,
    requests: Arc<Semaphore>,
}

/// One connection.
pub(crate) struct Connection {
    client: Arc<Client>,
    state: Mutex<State>,
    closed: Notify,
}

struct State {
    phase: Phase,
    since: Instant,
    /// Since when something to be sent has found no room in the socket.
    unread: Option<Instant>,
    /// Who waits until there is room again.
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The head of a request is to come: since the beginning of the connection, or of the head.
    Head,
    /// An answer has been given, and no byte of another request has come.
    Idle,
    /// A request is being answered.
    Answer,
}

/// Why a newcomer gets no place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All of its client's share is in use by requests that are being answered.
    OverShare,
    /// All places are.
    Full,
}

/// The right to have a request in the component.
pub(crate) struct Permit {
    _of_client: Option<OwnedSemaphorePermit>,
    _of_refused: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            refused_requests: Arc::new(Semaphore::new(limits.requests.div_ceil(PART_OF_REFUSED))),
            refused: Mutex::default(),
            limits,
            open: Mutex::default(),
            freed: Notify::new(),
            drained: AtomicBool::new(false),
        }
    }

    /// The server is about to end: from now on, no connection is kept after an answer.
    pub(crate) fn drain(&self) {
        self.drained.store(true, Ordering::Relaxed);
    }

    /// Whether no connection is kept after an answer any more.
    pub(crate) fn are_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Gives a newcomer from `peer` a place, if need be that of the connection which has waited the
    /// longest for its client: of the newcomer's own where it has used up its share, else of those clients
    /// that keep the most places waiting.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<Arc<Connection>, NoPlace> {
        let mut open = self.open();
        let network = network(peer);
        let client = open.iter().find(|of| of.client.network == network);
        let client = match client {
            Some(of) => Arc::clone(&of.client),
            None => Arc::new(self.client(peer, network)),
        };
        if !client.is_proxy {
            let own = |of: &Connection| Arc::ptr_eq(&of.client, &client);
            let share = self.limits.connections.div_ceil(SHARES);
            if open.iter().filter(|of| own(of)).count() >= share && !close_longest(&mut open, own) {
                return Err(NoPlace::OverShare);
            }
        }
        if open.len() >= self.limits.connections && !close_of_the_largest(&mut open) {
            return Err(NoPlace::Full);
        }
        let connection = Arc::new(Connection::new(client));
        open.push(Arc::clone(&connection));
        Ok(connection)
    }

    fn client(&self, peer: IpAddr, network: IpAddr) -> Client {
        let peer = peer.to_canonical();
        let proxies = &self.limits.trusted_proxies;
        Client {
            network,
            is_proxy: proxies.iter().any(|proxies| proxies.contains(&peer)),
            requests: Arc::new(Semaphore::new(self.limits.requests.div_ceil(SHARES))),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Takes back the place of a connection that has ended.
    pub(crate) fn leave(&self, connection: &Arc<Connection>) {
        self.open().retain(|of| !Arc::ptr_eq(of, connection));
        self.freed.notify_one();
    }

    /// Waits until a connection has ended, since the last time that this was waited for.
    pub(crate) async fn one_has_left(&self) {
        self.freed.notified().await;
    }

    /// Waits for the right to hand a request to the component; `None` if that takes too long.
    pub(crate) async fn permit(&self, connection: &Connection) -> Option<Permit> {
        let client = &connection.client;
        let both = async {
            let own = match client.is_proxy {
                true => None,
                false => Some(Arc::clone(&client.requests).acquire_owned().await.ok()?),
            };
            let refused = match self.was_refused(client) {
                false => None,
                true => Some(
                    Arc::clone(&self.refused_requests)
                        .acquire_owned()
                        .await
                        .ok()?,
                ),
            };
            Some(Permit {
                _of_client: own,
                _of_refused: refused,
                _of_all: Arc::clone(&self.requests).acquire_owned().await.ok()?,
            })
        };
        timeout(self.limits.queue_timeout, both).await.ok()?
    }

    /// The component has answered with this status. Whoever guesses or floods is refused; so that others
    /// need not wait behind it, it then has to wait behind its like.
    pub(crate) fn answered_with(&self, connection: &Connection, status: StatusCode) {
        let is_refusal = matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
        );
        if is_refusal && !connection.client.is_proxy {
            let mut refused = self.refused();
            let network = connection.client.network;
            if refused.len() < MOST_REFUSED || refused.contains_key(&network) {
                refused.insert(network, Instant::now());
            }
        }
    }

    fn was_refused(&self, client: &Client) -> bool {
        let at = self.refused().get(&client.network).copied();
        at.is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes, again and again, the connections whose clients keep the server waiting for too long.
    pub(crate) async fn sweep(&self) {
        let mut rounds = interval(SWEEP_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let now = Instant::now();
            self.open().retain(|of| {
                let is_overdue = of.state().is_overdue(&self.limits, now);
                if is_overdue {
                    of.closed.notify_one();
                }
                !is_overdue
            });
            self.refused().retain(|_, at| at.elapsed() < REFUSED_FOR);
            errors::tell_rest();
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the one of `open`, among those that are `meant`, which has waited the longest for its
/// client. False if none of them waits.
fn close_longest(open: &mut Vec<Arc<Connection>>, meant: impl Fn(&Connection) -> bool) -> bool {
    let waiting = open.iter().enumerate().filter(|(_, of)| meant(of));
    let waiting = waiting.filter_map(|(index, of)| Some((of.state().waits_since()?, index)));
    let Some((_, index)) = waiting.min() else {
        return false;
    };
    open.swap_remove(index).closed.notify_one();
    true
}

/// Closes the one that has waited the longest, of the clients that keep the most places waiting: so whoever has a
/// single connection keeps it while a crowd with several each takes all places. A proxy's connections are of
/// a client each. False if none waits.
fn close_of_the_largest(open: &mut Vec<Arc<Connection>>) -> bool {
    let mut waiting: HashMap<IpAddr, usize> = HashMap::new();
    for of in open.iter().filter(|of| !of.client.is_proxy) {
        if of.state().waits_since().is_some() {
            *waiting.entry(of.client.network).or_default() += 1;
        }
    }
    let most = waiting.values().copied().max().unwrap_or(1);
    let kept = |of: &Connection| waiting.get(&of.client.network).copied().unwrap_or(1);
    close_longest(open, |of| kept(of) == most) || close_longest(open, |_| true)
}

/// What counts as one client: an IPv4 address, or the network of 64 bits that one has of IPv6.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Connection {
    fn new(client: Arc<Client>) -> Self {
        let state = State {
            phase: Phase::Head,
            since: Instant::now(),
            unread: None,
            waiting: None,
        };
        Self {
            client,
            state: Mutex::new(state),
            closed: Notify::new(),
        }
    }

    /// Waits until it has to give way.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Something has come.
    pub(crate) fn received(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// A whole head has come.
    pub(crate) fn asked(&self) {
        self.state().enter(Phase::Answer);
    }

    /// All of an answer has been handed to the connection.
    pub(crate) fn answered(&self) {
        self.state().enter(Phase::Idle);
    }

    /// There was room for something in the socket, or there was none.
    pub(crate) fn had_room(&self, had: bool) {
        let mut state = self.state();
        if had {
            state.unread = None;
            if let Some(waiting) = state.waiting.take() {
                waiting.wake();
            }
        } else {
            state.unread.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the client has read enough for there to be room.
    pub(crate) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.unread.is_none() {
            return Poll::Ready(());
        }
        state.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }

    /// Since when the client keeps us waiting; `None` if it does not.
    fn waits_since(&self) -> Option<Instant> {
        let asks = (self.phase != Phase::Answer).then_some(self.since);
        self.unread.or(asks)
    }

    fn is_overdue(&self, limits: &Limits, now: Instant) -> bool {
        let limit = match (self.unread, self.phase) {
            (Some(_), _) => limits.stall_timeout,
            (None, Phase::Head) => limits.header_timeout,
            (None, Phase::Idle) => limits.idle_timeout,
            (None, Phase::Answer) => return false,
        };
        self.waits_since()
            .is_some_and(|since| now.duration_since(since) > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(places: usize, proxies: &[&str]) -> Connections {
        Connections::new(Limits {
            connections: places,
            trusted_proxies: proxies.iter().map(|net| net.parse().unwrap()).collect(),
            ..Limits::default()
        })
    }

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Whether it was told to close.
    fn is_closed(connections: &Connections, connection: &Arc<Connection>) -> bool {
        !connections
            .open()
            .iter()
            .any(|of| Arc::ptr_eq(of, connection))
    }

    #[test]
    fn who_keeps_us_waiting_the_longest_gives_way_within_a_share() {
        let all = connections(8, &[]);
        let (first, second) = (all.admit(from("10.0.0.1")), all.admit(from("10.0.0.1")));
        let (first, second) = (first.unwrap(), second.unwrap());
        let other = all.admit(from("10.0.0.2")).unwrap();
        first.asked();
        let third = all.admit(from("::ffff:10.0.0.1")).unwrap();
        assert!(
            is_closed(&all, &second),
            "the one that waits for its client"
        );
        assert!(!is_closed(&all, &first) && !is_closed(&all, &other));
        third.asked();
        assert_eq!(all.admit(from("10.0.0.1")).err(), Some(NoPlace::OverShare));
        // What is not read waits for its client, too.
        first.had_room(false);
        assert!(all.admit(from("10.0.0.1")).is_ok());
        assert!(is_closed(&all, &first) && !is_closed(&all, &third));
        // A network of IPv6 is one client.
        let own =
            ["2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"].map(|peer| all.admit(from(peer)));
        let [first, second, elsewhere] = own.map(Result::unwrap);
        assert!(all.admit(from("2001:db8::3")).is_ok());
        assert!(is_closed(&all, &first));
        assert!(!is_closed(&all, &second) && !is_closed(&all, &elsewhere));
    }

    #[test]
    fn a_crowd_gives_way_before_who_has_a_single_connection() {
        let all = connections(8, &[]);
        let user = all.admit(from("10.0.0.9")).unwrap();
        let crowd: Vec<_> = (0..7)
            .map(|number| all.admit(from(&format!("10.0.1.{}", number / 2))).unwrap())
            .collect();
        let _newcomer = all.admit(from("10.0.2.1")).unwrap();
        assert!(!is_closed(&all, &user) && is_closed(&all, &crowd[0]));
    }

    #[test]
    fn a_newcomer_finds_a_place_unless_all_are_at_work() {
        let all = connections(4, &["10.0.0.0/24", "192.0.2.1/32"]);
        let own = [(); 3].map(|()| all.admit(from("10.0.0.1")).unwrap());
        let other = all.admit(from("192.0.2.1")).unwrap();
        own[0].asked();
        own[0].answered();
        let _fifth = all.admit(from("198.51.100.1")).unwrap();
        assert!(is_closed(&all, &own[1]), "it has waited for longer");
        for of in all.open().iter() {
            of.asked();
        }
        assert_eq!(all.admit(from("198.51.100.2")).err(), Some(NoPlace::Full));
        all.leave(&other);
        assert!(all.admit(from("198.51.100.2")).is_ok());
    }

    #[tokio::test]
    async fn who_was_refused_waits_behind_its_like_and_nobody_else_does() {
        let all = Connections::new(Limits {
            requests: 8,
            queue_timeout: Duration::from_millis(50),
            ..Limits::default()
        });
        let guessers: Vec<_> = (1..=6)
            .map(|number| all.admit(from(&format!("10.0.0.{number}"))).unwrap())
            .collect();
        for guesser in &guessers {
            all.answered_with(guesser, StatusCode::UNAUTHORIZED);
        }
        let mut permits = Vec::new();
        for guesser in &guessers {
            permits.extend(all.permit(guesser).await);
        }
        assert_eq!(permits.len(), 4, "a half of all");
        let other = all.admit(from("10.0.0.9")).unwrap();
        all.answered_with(&other, StatusCode::OK);
        assert!(all.permit(&other).await.is_some());
        permits.pop();
        assert!(all.permit(&guessers[5]).await.is_some());
    }

    #[test]
    fn each_wait_has_its_limit() {
        let limits = Limits::default();
        let all = Connections::new(limits.clone());
        let connection = all.admit(from("10.0.0.1")).unwrap();
        let begun = Instant::now();
        let overdue = |after: Duration| connection.state().is_overdue(&limits, begun + after);
        let second = Duration::from_secs(1);
        let is_limited = |limit: Duration| !overdue(limit - second) && overdue(limit + second);
        assert!(is_limited(limits.header_timeout));
        // Bytes of a head do not make it any longer.
        connection.received();
        assert!(is_limited(limits.header_timeout));
        connection.asked();
        assert!(!overdue(Duration::from_secs(3600)));
        connection.had_room(false);
        assert!(is_limited(limits.stall_timeout));
        connection.had_room(true);
        connection.answered();
        assert!(is_limited(limits.idle_timeout));
        connection.received();
        assert!(is_limited(limits.header_timeout));
    }
}
