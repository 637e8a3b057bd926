//! First station: which resource a path names, and whether the method suits it.

use domain::contract::document::Document;
use http::{Method, StatusCode};

use crate::problem::Problem;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Whether this component is alive.
    Healthz,
    /// Whether a snapshot is being served.
    Readyz,
    /// The description of all this.
    Openapi,
    /// What needs a limit and a password.
    Protected(Resource<'a>),
}

/// What only the service's user may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    /// The report, or another document of the snapshot as a whole.
    Document(Document),
    /// One employee's part of the report; the id as the path has it.
    Employee(&'a str),
    /// Incidents of all employees in the order of time.
    Timeline,
    /// The page for who would rather look than read.
    Dashboard,
    /// One of its files: a version and a name.
    DashboardFile(&'a str),
    /// What is served, and how fresh it is.
    Status,
    /// The same in numbers, for Prometheus.
    Metrics,
    /// The end of the service.
    Shutdown,
}

/// What has a path of its own; any other below `/incidents/` is an employee's, and any below `/dashboard/` a
/// file of the page.
pub(crate) const ROUTES: [(&str, Route<'static>); 11] = [
    ("/", Route::Protected(Resource::Dashboard)),
    (
        "/incidents",
        Route::Protected(Resource::Document(Document::Report)),
    ),
    (
        "/incidents/unattributed",
        Route::Protected(Resource::Document(Document::Unattributed)),
    ),
    (
        "/incidents/summary",
        Route::Protected(Resource::Document(Document::Summary)),
    ),
    ("/incidents/timeline", Route::Protected(Resource::Timeline)),
    ("/status", Route::Protected(Resource::Status)),
    ("/metrics", Route::Protected(Resource::Metrics)),
    ("/shutdown", Route::Protected(Resource::Shutdown)),
    ("/openapi.json", Route::Openapi),
    ("/healthz", Route::Healthz),
    ("/readyz", Route::Readyz),
];

/// Finds the resource that a request is about.
///
/// # Errors
/// 404 for a path that names nothing, 405 for a method that its resource does not know. Neither
/// tells more than the documentation does, so neither needs a password.
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, Problem> {
    let route = match path {
        // About the server as a whole, as HAProxy asks by default.
        "/" if *method == Method::OPTIONS => Route::Healthz,
        _ => named(path).ok_or_else(not_found)?,
    };
    let allowed = match route {
        Route::Healthz | Route::Readyz => "GET, HEAD, OPTIONS",
        Route::Protected(Resource::Dashboard) => "GET, HEAD, OPTIONS",
        Route::Protected(Resource::Shutdown) => "GET, HEAD, POST",
        Route::Openapi | Route::Protected(_) => "GET, HEAD",
    };
    match allowed.split(", ").any(|name| name == method.as_str()) {
        true => Ok(route),
        false => Err(wrong_method(allowed)),
    }
}

/// The resource that a path names.
fn named(path: &str) -> Option<Route<'_>> {
    if let Some((_, route)) = ROUTES.iter().find(|(known, _)| *known == path) {
        return Some(*route);
    }
    if let Some(file) = path.strip_prefix("/dashboard/") {
        return Some(Route::Protected(Resource::DashboardFile(file)));
    }
    let id = path.strip_prefix("/incidents/")?;
    let is_id = !id.is_empty() && !id.contains('/');
    is_id.then_some(Route::Protected(Resource::Employee(id)))
}

fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "There is nothing here. Try / in a browser, /incidents, /incidents/{employee_id}, \
         /incidents/unattributed, /incidents/summary, /incidents/timeline, /status, /metrics, /healthz or /readyz; \
         /openapi.json describes them.",
    )
}

fn wrong_method(allowed: &'static str) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("This resource only knows the methods {allowed}."),
    )
    .with("allow", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;
    use proptest::prelude::*;

    fn get(path: &str) -> Option<Route<'_>> {
        route(&Method::GET, path).ok()
    }

    #[test]
    fn every_documented_path_is_known() {
        use Resource::{Dashboard, DashboardFile, Employee, Metrics, Shutdown, Status, Timeline};
        let document = |document| Some(Route::Protected(Resource::Document(document)));
        assert_eq!(get("/incidents"), document(Document::Report));
        assert_eq!(
            get("/incidents/775"),
            Some(Route::Protected(Employee("775")))
        );
        assert_eq!(
            get("/incidents/unattributed"),
            document(Document::Unattributed)
        );
        assert_eq!(get("/incidents/summary"), document(Document::Summary));
        assert_eq!(get("/incidents/timeline"), Some(Route::Protected(Timeline)));
        assert_eq!(get("/"), Some(Route::Protected(Dashboard)));
        assert_eq!(
            get("/dashboard/1/app.js"),
            Some(Route::Protected(DashboardFile("1/app.js")))
        );
        assert_eq!(get("/openapi.json"), Some(Route::Openapi));
        assert_eq!(get("/status"), Some(Route::Protected(Status)));
        assert_eq!(get("/metrics"), Some(Route::Protected(Metrics)));
        assert_eq!(get("/shutdown"), Some(Route::Protected(Shutdown)));
        assert_eq!(get("/healthz"), Some(Route::Healthz));
        assert_eq!(get("/readyz"), Some(Route::Readyz));
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in [
            "",
            "/dashboard",
            "/incident",
            "/incidents/",
            "/incidents/1/2",
            "/incidents//",
            "/Incidents",
            "//incidents",
            "/status/",
            "/metrics/",
            "/healthz/x",
        ] {
            let reply = Reply::from(route(&Method::GET, path).unwrap_err());
            assert_eq!(reply.status, 404, "{path}");
        }
    }

    #[test]
    fn methods_are_told() {
        for path in [
            "/incidents",
            "/incidents/7",
            "/incidents/timeline",
            "/status",
            "/metrics",
            "/openapi.json",
        ] {
            assert!(route(&Method::HEAD, path).is_ok());
            for method in [Method::POST, Method::PUT, Method::OPTIONS, Method::DELETE] {
                let reply = Reply::from(route(&method, path).unwrap_err());
                assert_eq!((reply.status, reply.value("allow")), (405, "GET, HEAD"));
            }
        }
        assert!(route(&Method::POST, "/shutdown").is_ok());
        for path in ["/healthz", "/readyz"] {
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(route(&method, path).is_ok(), "{method} {path}");
            }
            let reply = Reply::from(route(&Method::POST, path).unwrap_err());
            assert_eq!(reply.value("allow"), "GET, HEAD, OPTIONS");
        }
        assert_eq!(route(&Method::OPTIONS, "/").ok(), Some(Route::Healthz));
        let reply = Reply::from(route(&Method::POST, "/").unwrap_err());
        assert_eq!(reply.value("allow"), "GET, HEAD, OPTIONS");
        let reply = Reply::from(route(&Method::PUT, "/shutdown").unwrap_err());
        assert_eq!(
            (reply.status, reply.value("allow")),
            (405, "GET, HEAD, POST")
        );
    }

    proptest! {
        #[test]
        fn no_path_panics(path in ".{0,40}") {
            let _ = route(&Method::GET, &path);
        }
    }
}
