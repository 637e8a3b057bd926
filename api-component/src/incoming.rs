//! The first step: from WASI's request to its head as the `http` crate has it.
//!
//! Each question to the host is a call out of the sandbox: only what is looked at here is asked for. The body
//! is not, which nothing here has a use for.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use spin_sdk::wasip3::http::types::{ErrorCode, Method as WasiMethod, Request as WasiRequest};

use crate::limit::PEER;

/// How the names of those fields begin that Spin adds itself.
const SPIN_S: &str = "spin-";

/// Reads a request's head. Of the fields that Spin adds, only the client's address is kept; the authority is
/// there only for what may change something.
///
/// # Errors
/// When a part of it is not HTTP.
pub(crate) fn head(request: &WasiRequest) -> Result<Parts, ErrorCode> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = method(request.get_method())?;
    head.uri = uri(request, &head.method)?;
    head.headers = fields(request.get_headers().copy_all())?;
    Ok(head)
}

fn method(method: WasiMethod) -> Result<Method, ErrorCode> {
    match method {
        WasiMethod::Get => Ok(Method::GET),
        WasiMethod::Head => Ok(Method::HEAD),
        other => Method::try_from(other).map_err(|_| ErrorCode::HttpRequestMethodInvalid),
    }
}

fn uri(request: &WasiRequest, method: &Method) -> Result<Uri, ErrorCode> {
    let path = request.get_path_with_query().unwrap_or_default();
    let path = PathAndQuery::from_maybe_shared(path.into_bytes());
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path.map_err(|_| ErrorCode::HttpRequestUriInvalid)?);
    if !method.is_safe()
        && let Some(authority) = request.get_authority()
    {
        uri.scheme = Some(http::uri::Scheme::HTTP);
        let authority = authority.parse();
        uri.authority = Some(authority.map_err(|_| ErrorCode::HttpRequestUriInvalid)?);
    }
    Uri::from_parts(uri).map_err(|_| ErrorCode::HttpRequestUriInvalid)
}

fn fields(all: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, ErrorCode> {
    let invalid = || ErrorCode::HttpRequestHeaderSectionSize(None);
    let mut fields = HeaderMap::with_capacity(all.len());
    for (name, value) in all {
        if name.starts_with(SPIN_S) && name != PEER {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| invalid())?;
        fields.try_append(name, value).map_err(|_| invalid())?;
    }
    Ok(fields)
}
