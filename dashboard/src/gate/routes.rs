//! The endpoints of a server: each is added with its handler, and described by the types of that.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};

use super::describe::{Described, Endpoint, Pace};
use super::pass::{Entry, no_address, no_method, pass};
use super::state::Api;

/// Adds an endpoint to a router.
type Opening = Box<dyn FnOnce(Router<Api>, Arc<Entry>) -> Router<Api> + Send>;

/// Endpoints with their handlers.
#[derive(Default)]
pub struct Routes(Vec<(Endpoint, Opening)>);

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(endpoint, _)| (endpoint.method, &endpoint.path))).finish()
    }
}

macro_rules! methods {
    ($($(#[$about:meta])* $name:ident, $filter:ident, $word:literal;)*) => {
        $(
            $(#[$about])*
            #[must_use]
            pub fn $name<H, T, A>(self, path: &str, about: &'static str, handler: H) -> Self
            where
                H: Handler<T, Api> + Described<A>,
                T: 'static,
            {
                self.add($word, MethodFilter::$filter, Pace::Usual, path, about, handler)
            }
        )*
    };
}

impl Routes {
    methods! {
        /// Adds an endpoint that only looks.
        get, GET, "GET";
        /// Adds an endpoint that makes or does something.
        post, POST, "POST";
        /// Adds an endpoint that sets something as a whole.
        put, PUT, "PUT";
        /// Adds an endpoint that edits something.
        patch, PATCH, "PATCH";
        /// Adds an endpoint that removes something.
        delete, DELETE, "DELETE";
    }

    /// Adds an endpoint that looks for as long as its caller wants.
    #[must_use]
    pub fn get_slowly<H, T, A>(self, path: &str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<A>,
        T: 'static,
    {
        self.add("GET", MethodFilter::GET, Pace::Streams, path, about, handler)
    }

    /// Adds an endpoint that does something for as long as its body goes on.
    #[must_use]
    pub fn post_slowly<H, T, A>(self, path: &str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<A>,
        T: 'static,
    {
        self.add("POST", MethodFilter::POST, Pace::Streams, path, about, handler)
    }

    /// Adds an endpoint that edits something for as long as its body goes on.
    #[must_use]
    pub fn patch_slowly<H, T, A>(self, path: &str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<A>,
        T: 'static,
    {
        self.add("PATCH", MethodFilter::PATCH, Pace::Streams, path, about, handler)
    }

    fn add<H, T, A>(
        mut self,
        method: &'static str,
        filter: MethodFilter,
        pace: Pace,
        path: &str,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api> + Described<A>,
        T: 'static,
    {
        let name = handler_name(std::any::type_name::<H>());
        let mut endpoint =
            Endpoint { method, path: path.to_owned(), about, handler: name, pace, ..Endpoint::default() };
        H::describe(&mut endpoint);
        let path = path.to_owned();
        let opening = move |router: Router<Api>, entry: Arc<Entry>| {
            router.route(&path, on(filter, handler).route_layer(from_fn_with_state(entry, pass)))
        };
        self.0.push((endpoint, Box::new(opening)));
        self
    }

    /// Adds the endpoints of others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The descriptions, in the order in which they were added.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter().map(|(endpoint, _)| endpoint)
    }

    /// The router, with an answer for every other address and method.
    pub fn router(self, api: &Api) -> Router {
        let mut router = Router::new();
        for (endpoint, opening) in self.0 {
            router = opening(router, Arc::new(Entry { api: api.clone(), endpoint }));
        }
        router.fallback(no_address).method_not_allowed_fallback(no_method).with_state(api.clone())
    }
}

/// `jobs::steer::retry`, of the whole path of a handler.
fn handler_name(path: &'static str) -> &'static str {
    let named = path.split_once("::api::").or_else(|| path.split_once("::dashboard::"));
    named.map_or(path, |(_, name)| name)
}
