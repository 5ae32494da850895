//! One call: a POST and its answer. Knows HTTP, time-outs and sizes; must not know pages, limits nor what a row is.
//!
//! Whatever is not a whole answer of the service is a [`Fault`], never an empty table.

use std::{sync::Once, time::Duration};

use anyhow::Context;
use reqwest::{
    Certificate, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};
use serde::Serialize;
use sqep::redis::without_password;
use tracing::warn;

use super::{
    apis::Api,
    error::Misfit,
    reply::{self, Page, Unread},
    settings::ClientSettings,
    token::{Token, redact},
};

/// Why one call gave no page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The service refuses.
    Said { code: i64, said: String },
    /// Its rows do not fit.
    Misfit(Misfit),
    /// No whole answer; `wait`: as long as the server asks to be left alone.
    Transport { why: String, wait: Option<Duration> },
}

/// What is posted. Parameters are texts, an empty one is none.
#[derive(Serialize)]
struct Request<'a> {
    api_name: &'a str,
    token: &'a str,
    params: std::collections::BTreeMap<&'a str, &'a str>,
    fields: String,
}

/// The way to the service.
pub(super) struct Http {
    client: reqwest::Client,
    tokens: Vec<Token>,
    answer_bytes_max: usize,
}

impl Http {
    pub(super) fn new(settings: &ClientSettings, tokens: Vec<Token>) -> anyhow::Result<Http> {
        static PROVIDER: Once = Once::new();
        // The program's frame installs it; a test or another program may not have.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let seconds = Duration::from_secs;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(seconds(settings.connect_timeout_s_max))
            .read_timeout(seconds(settings.stall_timeout_s_max))
            .timeout(seconds(settings.answer_timeout_s_max))
            // A token follows nobody to another place.
            .redirect(Policy::none());
        if let Some(path) = &settings.tls_ca_file {
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let found = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
            let found = found.with_context(|| {
                format!("tushare.tls_ca_file {} holds no certificate in PEM (CERTIFICATE)", path.display())
            })?;
            builder = builder.tls_certs_only(found);
        }
        if settings.base_url.starts_with("http://") && !is_here(&settings.base_url) {
            warn!(
                "tushare.base_url {} is not encrypted: the token can be read on the way",
                without_password(&settings.base_url)
            );
        }
        let client = builder.build().context("cannot prepare HTTP")?;
        Ok(Http { client, tokens, answer_bytes_max: settings.answer_bytes_max })
    }

    /// Asks once.
    pub(super) async fn post(
        &self,
        api: &'static Api,
        url: &str,
        token: usize,
        params: &[(&'static str, String)],
    ) -> Result<Page, Fault> {
        let secret = self.tokens.get(token).map(Token::reveal).unwrap_or_default();
        let request = Request {
            api_name: api.name,
            token: secret,
            params: params.iter().map(|(name, value)| (*name, value.as_str())).collect(),
            fields: api.fields.join(","),
        };
        let body = serde_json::to_vec(&request).map_err(|error| self.lost(&error.to_string(), None))?;
        let sent = self.client.post(url).header(CONTENT_TYPE, "application/json").body(body).send();
        let response = sent.await.map_err(|error| self.lost(&told(error), None))?;
        let (status, wait) = (response.status(), retry_after(&response));
        let body = self.body(response).await?;
        if !status.is_success() {
            // Relays refuse with a status, and the service's words below it.
            if let (true, Err(Unread::Said { code, said })) = (is_refusal(status), reply::read(api, &body)) {
                return Err(Fault::Said { code, said: redact(&said, &self.tokens) });
            }
            return Err(self.lost(&format!("HTTP {}: {}", shown(status), reply::beginning(&body)), wait));
        }
        reply::read(api, &body).map_err(|unread| match unread {
            Unread::Said { code, said } => Fault::Said { code, said: redact(&said, &self.tokens) },
            Unread::Misfit(misfit) => Fault::Misfit(misfit),
            Unread::Garbled(why) => self.lost(&why, None),
        })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.lost(&told(error), None))? {
            if body.len() + piece.len() > self.answer_bytes_max {
                let max = self.answer_bytes_max;
                return Err(
                    self.lost(&format!("the answer is larger than tushare.answer_bytes_max, {max}"), None)
                );
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn lost(&self, why: &str, wait: Option<Duration>) -> Fault {
        Fault::Transport { why: redact(why, &self.tokens), wait }
    }
}

fn is_here(url: &str) -> bool {
    ["http://127.", "http://localhost", "http://[::1]"].iter().any(|here| url.starts_with(here))
}

/// Whether a status speaks of the question rather than of the moment.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}

fn shown(status: StatusCode) -> String {
    let advice = match status.as_u16() {
        300..=399 => " (it points elsewhere: set tushare.base_url to that place)",
        404 | 405 => " (check tushare.base_url and tushare.url_form)",
        _ => "",
    };
    format!("{}{advice}", status.as_u16())
}

/// What went wrong with a connection, with its causes and without the URL, which may hold a password.
fn told(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let text = format!("{:#}", anyhow::Error::from(error.without_url()));
    match () {
        () if timed_out => format!("timed out: {text}"),
        () if text.contains("certificate") => {
            format!("{text}: name the CA in tushare.tls_ca_file if you trust it")
        }
        () => text,
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
