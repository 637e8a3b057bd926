//! Where Redis is: finds, for each new connection, the node that takes our writes.
//!
//! Behind Sentinel that is the primary of the moment. In Redis Cluster it is the owner of the one
//! slot in which all our keys are; so nothing is ever spread over nodes, and a plain connection does.
//! A client that spreads commands over a cluster would be wrong: it asks any node for `TIME`, and
//! the one clock of the protocol must be that of the node that runs the scripts.

use std::fmt;
use std::time::Duration;

use domain::settings::credentials::Secret;
use futures::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, RedisResult, Role,
};
use tokio::time::timeout;
use url::Url;

use super::StoreError;

/// How long to wait for one connection.
const CONNECT: Duration = Duration::from_millis(900);

/// How long to wait until the right node is found, and has answered.
const FOUND: Duration = Duration::from_millis(1800);

/// How often a cluster's node may send on to another: more means that they disagree.
const HOPS: usize = 4;

/// Sentinels that are asked.
const MOST_SENTINELS: usize = 16;

/// The port of a Sentinel whose address names none.
const SENTINEL_PORT: u16 = 26379;

/// What `REDIS_URL` says.
#[derive(Clone)]
pub(super) struct Locator {
    /// Redis, or the first sentinel, with the user, the password and the database of Redis.
    redis: ConnectionInfo,
    sentinels: Option<Sentinels>,
    /// One of our keys: whoever owns it owns all.
    key: String,
}

/// Who knows where the primary is.
#[derive(Debug, Clone)]
struct Sentinels {
    nodes: Vec<Node>,
    /// The name under which they know it.
    service: String,
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    host: String,
    port: u16,
}

impl Locator {
    /// Reads `url`; `key` is one of those that are to be found there.
    ///
    /// # Errors
    /// When it is no address of a Redis.
    pub(super) fn parse(url: &Secret, key: String) -> Result<Self, StoreError> {
        let wrong = || StoreError::Refused("REDIS_URL is not the address of a Redis".to_owned());
        let address = Address::parse(url.expose()).ok_or_else(wrong)?;
        let redis = address.redis.as_str().into_connection_info()?;
        let sentinels = match &address.sentinels {
            None => None,
            Some(_) => Some(address.sentinels().ok_or_else(wrong)?),
        };
        Ok(Self {
            redis,
            sentinels,
            key,
        })
    }

    /// A connection to the node that takes our writes, which waits for `answer` at most for each.
    ///
    /// # Errors
    /// When it cannot be found or reached.
    pub(super) async fn connect(
        &self,
        answer: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let found = timeout(FOUND, async {
            let Some(Sentinels { nodes, service }) = &self.sentinels else {
                return self.owner(answer).await;
            };
            // All at once: one may be away, and another not yet know of a failover.
            let ways = nodes.iter();
            let ways = ways.map(|sentinel| Box::pin(self.primary(sentinel, service, answer)));
            select_ok(ways).await.map(|(connection, _)| connection)
        });
        found.await.unwrap_or_else(|_| {
            Err(StoreError::Unreachable(
                "no node of it answers in time".to_owned(),
            ))
        })
    }

    /// The owner of our slot: where it is not Redis itself, that sends on to it. A Redis that is no part
    /// of a cluster owns all.
    async fn owner(&self, answer: Duration) -> Result<MultiplexedConnection, StoreError> {
        let mut at = match self.redis.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                node(host, *port)
            }
            _ => {
                return Err(StoreError::Refused("REDIS_URL must name a host".to_owned()));
            }
        };
        for _ in 0..HOPS {
            let mut connection = self.open(&at, self.redis.redis_settings(), answer).await?;
            let owns: RedisResult<()> = Cmd::exists(&self.key).query_async(&mut connection).await;
            match owns {
                Ok(()) => return Ok(connection),
                Err(error) => at = moved_to(&error, &at).ok_or(error)?,
            }
        }
        Err(StoreError::Moving(
            "its nodes send from one to the other".to_owned(),
        ))
    }

    /// The primary that `sentinel` knows, if it really is one.
    async fn primary(
        &self,
        sentinel: &Node,
        service: &str,
        answer: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let found = match self
            .ask(sentinel, service, &RedisConnectionInfo::default())
            .await
        {
            // Most sentinels have no password of their own, and refuse any then.
            Err(StoreError::Denied(_)) => {
                let login = self.redis.redis_settings().clone().set_db(0);
                self.ask(sentinel, service, &login).await?
            }
            found => found?,
        };
        let Some((host, port)) = found else {
            return Err(StoreError::Refused(format!(
                "Sentinel knows no primary named `{service}`; check REDIS_URL"
            )));
        };
        let mut connection = self
            .open(&Node { host, port }, self.redis.redis_settings(), answer)
            .await?;
        match redis::cmd("ROLE").query_async(&mut connection).await? {
            Role::Primary { .. } => Ok(connection),
            _ => Err(StoreError::ReadOnly(
                "Sentinel still names a replica as the primary".to_owned(),
            )),
        }
    }

    async fn ask(
        &self,
        sentinel: &Node,
        service: &str,
        login: &RedisConnectionInfo,
    ) -> Result<Option<(String, u16)>, StoreError> {
        let mut connection = self.open(sentinel, login, CONNECT).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        Ok(ask.query_async(&mut connection).await?)
    }

    async fn open(
        &self,
        node: &Node,
        login: &RedisConnectionInfo,
        answer: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let (host, port) = (node.host.clone(), node.port);
        let addr = match *self.redis.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure,
                tls_params: None,
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let info = self
            .redis
            .clone()
            .set_addr(addr)
            .set_redis_settings(login.clone());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        let client = Client::open(info)?;
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Locator")
            .field("redis", &self.redis.addr())
            .field("sentinels", &self.sentinels)
            .finish_non_exhaustive()
    }
}

/// Where a node of a cluster, asked `at`, says that the key is: `None` if it says something else.
fn moved_to(error: &RedisError, at: &Node) -> Option<Node> {
    if error.code() != Some("MOVED") {
        return None;
    }
    let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
    // A node that does not know its own name leaves the host out.
    let host = if host.is_empty() { &at.host } else { host };
    Some(node(host, port.parse().ok()?))
}

fn node(host: &str, port: u16) -> Node {
    Node {
        host: host.to_owned(),
        port,
    }
}

/// The parts of `REDIS_URL`, which may also be
/// `redis+sentinel://[user:password@]host:port[,host:port…]/SERVICE[/database]`.
struct Address {
    /// The address of a Redis; the host is the first sentinel's, where there are any.
    redis: Url,
    /// The sentinels' hosts and ports, as they are written, and the name of the primary.
    sentinels: Option<(String, String)>,
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let Some(scheme) = scheme.strip_suffix("+sentinel") else {
            return Some(Self {
                redis: Url::parse(text).ok()?,
                sentinels: None,
            });
        };
        let (authority, path) = rest.split_once('/')?;
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((_, hosts)) => authority.split_at(authority.len() - hosts.len()),
            None => ("", authority),
        };
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        let first = hosts.split(',').next()?;
        Some(Self {
            redis: Url::parse(&format!("{scheme}://{login}{first}/{database}")).ok()?,
            sentinels: Some((hosts.to_owned(), service.to_owned())),
        })
    }

    fn sentinels(&self) -> Option<Sentinels> {
        let (hosts, service) = self.sentinels.as_ref()?;
        let nodes = hosts.split(',').take(MOST_SENTINELS).map(|sentinel| {
            let url = Url::parse(&format!("redis://{sentinel}")).ok()?;
            let host = url.host_str()?.trim_matches(['[', ']']);
            Some(node(host, url.port().unwrap_or(SENTINEL_PORT)))
        });
        Some(Sentinels {
            nodes: nodes.collect::<Option<_>>()?,
            service: service.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(url: &str) -> Result<Locator, StoreError> {
        Locator::parse(&Secret::new(url), "{incidents}:current".to_owned())
    }

    #[test]
    fn sentinels_are_named_with_the_service_behind_them() {
        let locator = locator("rediss+sentinel://u:p%40@a:1,[::1]:2,c/main/3").unwrap();
        let Some(Sentinels { nodes, service }) = &locator.sentinels else {
            panic!("no sentinels");
        };
        assert_eq!(
            **nodes,
            [node("a", 1), node("::1", 2), node("c", SENTINEL_PORT)]
        );
        assert_eq!(service, "main");
        let login = locator.redis.redis_settings();
        assert_eq!((login.username(), login.db()), (Some("u"), 3));
        assert!(matches!(
            locator.redis.addr(),
            ConnectionAddr::TcpTls {
                insecure: false,
                ..
            }
        ));
        assert!(!format!("{locator:?}").contains("p@"), "{locator:?}");
    }

    #[test]
    fn a_redis_may_be_named_itself() {
        let locator = locator("redis://:p@h:7/2").unwrap();
        assert!(locator.sentinels.is_none());
        assert!(matches!(locator.redis.addr(), ConnectionAddr::Tcp(host, 7) if host == "h"));
        for wrong in [
            "h",
            "redis://",
            "http://h",
            "redis+sentinel://h",
            "redis+sentinel://,/s",
        ] {
            assert!(super::tests::locator(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cluster_says_who_owns_the_slot() {
        let at = node("10.0.0.1", 6379);
        let moved = |said: &str| {
            let error = redis::parse_redis_value(format!("-{said}\r\n").as_bytes());
            let error = error.and_then(|value| value.extract_error()).unwrap_err();
            moved_to(&error, &at)
        };
        assert_eq!(moved("MOVED 7 10.0.0.2:7000"), Some(node("10.0.0.2", 7000)));
        assert_eq!(moved("MOVED 7 fd00::2:7000"), Some(node("fd00::2", 7000)));
        assert_eq!(moved("MOVED 7 :7000"), Some(node("10.0.0.1", 7000)));
        assert_eq!(moved("MOVED 7"), None);
        assert_eq!(moved("ASK 7 10.0.0.2:7000"), None);
        assert_eq!(moved("LOADING 7 10.0.0.2:7000"), None);
    }
}
