//! A component for the host's tests: each path does one thing that a component may do, or may
//! not. Parameters come in the query; an answer is plain text.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs,
    hash::{BuildHasher, RandomState},
    rc::Rc,
};

use http::Uri;
use http_body_util::BodyExt as _;
use spin_sdk::{
    http::Request,
    http_service,
    redis::{Connection, Error, RedisParameter, RedisResult},
    variables,
    wasip3::{
        clocks::monotonic_clock,
        http::types::{ErrorCode, Fields, Response},
        spawn, wit_future, wit_stream,
    },
};

thread_local! {
    /// Tells this instance from every other.
    static INSTANCE: u64 = RandomState::new().hash_one("instance");
    /// Requests that this instance has had.
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
    /// Connections by address, kept from one request to the next.
    static CONNECTIONS: RefCell<HashMap<String, Rc<Connection>>> = RefCell::default();
}

/// The query of a request.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default().as_bytes();
        Self(form_urlencoded::parse(query).into_owned().collect())
    }

    fn all(&self, name: &str) -> Vec<String> {
        let named = |(key, value): &(String, String)| (key == name).then(|| value.clone());
        self.0.iter().filter_map(named).collect()
    }

    fn get(&self, name: &str) -> String {
        self.all(name).pop().unwrap_or_default()
    }

    fn number(&self, name: &str) -> usize {
        self.get(name).parse().unwrap_or_default()
    }
}

#[http_service]
async fn handle(request: Request) -> Result<Response, ErrorCode> {
    REQUESTS.set(REQUESTS.get() + 1);
    let (head, body) = request.into_parts();
    let query = Query::of(&head.uri);
    let text = match head.uri.path() {
        "/headers" => headers(&head.headers),
        "/uri" => head.uri.to_string(),
        "/instance" => INSTANCE.with(|id| format!("{id:x} {}", REQUESTS.get())),
        "/variable" => match variables::get(query.get("name")).await {
            Ok(value) => format!("value {value}"),
            Err(error) => format!("error {error:?}"),
        },
        "/environment" => std::env::vars().map(|(name, _)| name).collect(),
        "/read" => match fs::read_to_string(query.get("path")) {
            Ok(content) => format!("content {content}"),
            Err(error) => format!("error {error}"),
        },
        "/write" => match fs::write(query.get("path"), "probe") {
            Ok(()) => "written".to_owned(),
            Err(error) => format!("error {error}"),
        },
        "/remove" => match fs::remove_file(query.get("path")) {
            Ok(()) => "removed".to_owned(),
            Err(error) => format!("error {error}"),
        },
        "/body" => match body.collect().await {
            Ok(body) => format!("bytes {}", body.to_bytes().len()),
            Err(error) => format!("error {error:?}"),
        },
        "/redis" => redis(&query)
            .await
            .unwrap_or_else(|error| format!("error {error:?}")),
        "/wait" => wait(&query)
            .await
            .unwrap_or_else(|error| format!("error {error:?}")),
        "/allocate" => vec![1_u8; query.number("mib") << 20].len().to_string(),
        "/panic" => panic!("as asked"),
        "/fail" => return Err(ErrorCode::ConfigurationError),
        "/spin" => loop {
            std::hint::spin_loop();
        },
        "/stream" => return stream(query),
        "/broken" => return broken(),
        path => format!("nothing at {path}"),
    };
    let length = [("content-length".to_owned(), text.len().to_string().into())];
    let (mut writer, contents) = wit_stream::new();
    spawn(async move {
        writer.write_all(text.into_bytes()).await;
    });
    respond(&length, contents)
}

fn respond(
    fields: &[(String, Vec<u8>)],
    contents: spin_sdk::wasip3::wit_bindgen::StreamReader<u8>,
) -> Result<Response, ErrorCode> {
    let fields = Fields::from_list(fields).map_err(|_| ErrorCode::ConfigurationError)?;
    let (_, ending) = wit_future::new(|| Ok(None));
    Ok(Response::new(fields, Some(contents), ending).0)
}

fn headers(headers: &http::HeaderMap) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

/// Sets the key `entered`, waits until the key `gate` exists, and tells the instance.
async fn wait(query: &Query) -> Result<String, Error> {
    let connection = connection(&query.get("url")).await?;
    connection.set(query.get("entered"), "yes").await?;
    while connection.get(query.get("gate")).await?.is_none() {
        monotonic_clock::wait_for(5_000_000).await;
    }
    Ok(INSTANCE.with(|id| format!("{id:x}")))
}

/// Sends `chunks` chunks of `size` bytes. With a key `progress`, sets it to the number of chunks
/// sent; with a key `gate`, waits before the last chunk until that key exists.
fn stream(query: Query) -> Result<Response, ErrorCode> {
    let (mut writer, contents) = wit_stream::new();
    spawn(async move {
        let (progress, gate) = (query.get("progress"), query.get("gate"));
        let redis = connection(&query.get("url")).await.ok();
        let chunks = query.number("chunks");
        for chunk in 1..=chunks {
            if let Some(redis) = &redis
                && chunk == chunks
                && !gate.is_empty()
            {
                while let Ok(None) = redis.get(&gate).await {
                    monotonic_clock::wait_for(5_000_000).await;
                }
            }
            let letter = b'a' + (chunk % 26) as u8;
            let unsent = writer.write_all(vec![letter; query.number("size")]).await;
            if !unsent.is_empty() {
                return;
            }
            if let Some(redis) = &redis
                && !progress.is_empty()
            {
                let _ = redis.set(&progress, chunk.to_string()).await;
            }
        }
    });
    respond(&[], contents)
}

/// An answer that ends in an error after its first bytes.
fn broken() -> Result<Response, ErrorCode> {
    let (mut writer, contents) = wit_stream::new();
    let (ended, ending) = wit_future::new(|| Err(ErrorCode::ConfigurationError));
    spawn(async move {
        writer.write_all(b"a part".to_vec()).await;
        drop(writer);
        drop(ended);
    });
    Ok(Response::new(Fields::new(), Some(contents), ending).0)
}

async fn connection(url: &str) -> Result<Rc<Connection>, Error> {
    let kept = CONNECTIONS.with_borrow(|kept| kept.get(url).cloned());
    if let Some(connection) = kept {
        return Ok(connection);
    }
    let connection = Rc::new(Connection::open(url).await?);
    CONNECTIONS.with_borrow_mut(|kept| kept.insert(url.to_owned(), Rc::clone(&connection)));
    Ok(connection)
}

/// One call of the interface: `do` names it, each `arg` is an argument (`i:` before an integer).
async fn redis(query: &Query) -> Result<String, Error> {
    let connection = connection(&query.get("url")).await?;
    let arguments = query.all("arg");
    let key = arguments.first().cloned().unwrap_or_default();
    let rest = arguments.iter().skip(1);
    Ok(match query.get("do").as_str() {
        "open" => "open".to_owned(),
        "get" => match connection.get(key).await? {
            Some(value) => format!("some {}", String::from_utf8_lossy(&value)),
            None => "none".to_owned(),
        },
        "set" => format!(
            "{:?}",
            connection.set(key, query.all("arg")[1].as_bytes()).await?
        ),
        "incr" => connection.incr(key).await?.to_string(),
        "del" => connection.del(arguments).await?.to_string(),
        "sadd" => connection.sadd(key, rest).await?.to_string(),
        "srem" => connection.srem(key, rest).await?.to_string(),
        "smembers" => {
            let mut members = connection.smembers(key).await?;
            members.sort();
            members.join(",")
        }
        "publish" => format!("{:?}", connection.publish(key, &query.all("arg")[1]).await?),
        "size" => match connection.get(key).await? {
            Some(value) => format!("bytes {}", value.len()),
            None => "none".to_owned(),
        },
        "execute" => {
            let arguments = rest.map(|argument| match argument.strip_prefix("i:") {
                Some(number) => RedisParameter::Int64(number.parse().unwrap_or_default()),
                None => RedisParameter::Binary(argument.clone().into_bytes()),
            });
            let results = connection.execute(&key, arguments).await?;
            results.iter().map(shown).collect::<Vec<_>>().join(" ")
        }
        other => format!("no such call: {other}"),
    })
}

fn shown(result: &RedisResult) -> String {
    match result {
        RedisResult::Nil => "nil".to_owned(),
        RedisResult::Status(status) => format!("+{status}"),
        RedisResult::Int64(number) => format!(":{number}"),
        RedisResult::Binary(bytes) => format!("${}", String::from_utf8_lossy(bytes)),
    }
}
