//! What Spin's HTTP trigger does to a request's head: the full URI, and the `spin-*` headers.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, HOST},
    request,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::manifest::ROUTE;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// A request that HTTP/1.1 does not allow: no host, two hosts, or no path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRequest;

/// The two ends of a connection.
#[derive(Clone)]
pub(crate) struct Ends {
    /// The header value that tells the client's address, `ip:port`.
    client: HeaderValue,
    /// Our own address, for a request that names no host.
    own: Option<Authority>,
}

impl Ends {
    pub(crate) fn new(client: SocketAddr, own: Option<SocketAddr>) -> Self {
        let client = HeaderValue::try_from(client.to_string());
        Self {
            client: client.expect("an address is plain ASCII"),
            own: own.and_then(|own| Authority::try_from(own.to_string()).ok()),
        }
    }
}

/// Completes a request's URI and appends Spin's headers. They come after those that the client
/// sent: a client can send the same names, and only the last value counts.
pub(crate) fn prepare(head: &mut request::Parts, ends: &Ends) -> Result<(), BadRequest> {
    let authority = authority(head, ends)?;
    let path = match head.uri.path_and_query().ok_or(BadRequest)? {
        // A question about the server as a whole (RFC 9110, 9.3.7): its root is as good.
        all if all == "*" && head.method == Method::OPTIONS => PathAndQuery::from_static("/"),
        path => path.clone(),
    };
    let full_url = HeaderValue::try_from(format!("http://{authority}{path}"));
    let path_info = HeaderValue::try_from(path.path());

    let headers = &mut head.headers;
    headers.remove(CONNECTION);
    headers.append(PATH_INFO, path_info.map_err(|_| BadRequest)?);
    headers.append(FULL_URL, full_url.map_err(|_| BadRequest)?);
    headers.append(MATCHED_ROUTE, HeaderValue::from_static(ROUTE));
    headers.append(BASE_PATH, HeaderValue::from_static("/"));
    headers.append(RAW_COMPONENT_ROUTE, HeaderValue::from_static(ROUTE));
    headers.append(COMPONENT_ROUTE, HeaderValue::from_static(""));
    headers.append(CLIENT_ADDR, ends.client.clone());

    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    uri.path_and_query = Some(path);
    head.uri = Uri::from_parts(uri).map_err(|_| BadRequest)?;
    Ok(())
}

/// The host that a request is for: its `Host` header and its URI must not disagree. An empty header
/// names none, and HTTP/1.0 knows of no such header: load balancers ask so whether we are well.
fn authority(head: &request::Parts, ends: &Ends) -> Result<Authority, BadRequest> {
    match (host(&head.headers)?, head.uri.authority()) {
        (Some(""), None) => ends.own.clone().ok_or(BadRequest),
        (None, None) if head.version < Version::HTTP_11 => ends.own.clone().ok_or(BadRequest),
        (None, None) => Err(BadRequest),
        (None | Some(""), Some(uri)) => Ok(uri.clone()),
        (Some(header), uri) => match Authority::try_from(header) {
            Ok(header) if uri.is_none_or(|uri| header == *uri) => Ok(header),
            _ => Err(BadRequest),
        },
    }
}

/// The one `Host` header.
fn host(headers: &HeaderMap) -> Result<Option<&str>, BadRequest> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| host.to_str());
    match hosts.next() {
        Some(_) => Err(BadRequest),
        None => host.transpose().map_err(|_| BadRequest),
    }
}
