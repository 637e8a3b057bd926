//! What Spin's HTTP trigger does to a request's head: the full URI, and the `spin-*` headers.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONNECTION, HOST},
    request,
    uri::{Authority, Scheme},
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

/// The header value that tells a client's address, `ip:port`: one per connection.
pub(crate) fn client_address(client: SocketAddr) -> HeaderValue {
    HeaderValue::try_from(client.to_string()).expect("an address is plain ASCII")
}

/// Completes a request's URI and appends Spin's headers. They come after those that the client
/// sent: a client can send the same names, and only the last value counts.
pub(crate) fn prepare(head: &mut request::Parts, client: &HeaderValue) -> Result<(), BadRequest> {
    let authority = authority(&head.headers, head.uri.authority())?;
    let path = head.uri.path_and_query().ok_or(BadRequest)?.clone();
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
    headers.append(CLIENT_ADDR, client.clone());

    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    uri.path_and_query = Some(path);
    head.uri = Uri::from_parts(uri).map_err(|_| BadRequest)?;
    Ok(())
}

/// The host that a request is for: its `Host` header and its URI must not disagree.
fn authority(headers: &HeaderMap, in_uri: Option<&Authority>) -> Result<Authority, BadRequest> {
    let mut hosts = headers.get_all(HOST).iter();
    let in_header = hosts
        .next()
        .map(|host| Authority::try_from(host.as_bytes()).map_err(|_| BadRequest))
        .transpose()?;
    if hosts.next().is_some() {
        return Err(BadRequest);
    }
    match (in_header, in_uri) {
        (Some(header), Some(uri)) if header != *uri => Err(BadRequest),
        (Some(authority), _) => Ok(authority),
        (None, Some(authority)) => Ok(authority.clone()),
        (None, None) => Err(BadRequest),
    }
}
