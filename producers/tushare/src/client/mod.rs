//! The service as tables. Knows how to ask it completely and within its limits; must not know what a bar is.
//!
//! [`service`](Client) asks for `pages` with `http`, as often as the `limiter` lets it by `clock` and `retry` says;
//! `reply` reads what comes, `error` tells refusals apart, `cache` keeps answers, `estimate` tells how long it takes,
//! and `apis` is the service's contract as data.

mod apis;
mod cache;
mod clock;
mod error;
mod estimate;
mod http;
mod limiter;
mod pages;
mod reply;
mod retry;
mod service;
mod settings;
mod table;
mod token;

pub use apis::{APIS, Api, Empty, api, find};
pub use clock::{Clock, wall_clock};
pub use error::{ApiError, Misfit, Reach};
pub use service::{Ask, Client, Keep};
pub use settings::{ClientSettings, UrlForm};
pub use table::{Cell, CellError, Table};
pub use token::Token;
