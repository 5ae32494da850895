//! A server that is reached over TLS: its certificate is held against the CA of the configuration.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqep::{DayBar, Kind, Record, WriteError};
use sqep_clickhouse::{ClickHouseSink, Config};
use sqep_testkit::TestClickHouse;

use crate::common::{self, held, key, sink_of, write};

/// A CA of its own, written to `NAME.crt`.
fn authority(folder: &Path, name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join(format!("{name}.crt")), ca.pem()).unwrap();
    ca
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_over_tls_to_the_server_that_the_ca_vouches_for_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ca = authority(folder.path(), "ca");
    authority(folder.path(), "stranger");
    let own = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &ca).unwrap();
    fs::write(path("server.crt"), certificate.pem()).unwrap();
    fs::write(path("server.key"), own.serialize_pem()).unwrap();
    let files = format!("{},{}", path("server.crt").display(), path("server.key").display());
    let server = TestClickHouse::front(&[("FRONT_TLS", &files)]).unwrap();
    let sink = |ca: &str| -> ClickHouseSink<DayBar> {
        let (url, tls_ca_file) = (server.tls_url().unwrap(), Some(path(ca)));
        sink_of(Config { url, tls_ca_file, ..common::config(&server) }, key(Kind::BarDay))
    };
    let bar = DayBar {
        symbol: "000001.SZ".parse().unwrap(),
        frame: "2025-01-02".parse().unwrap(),
        close: 1.0,
        ..DayBar::blank()
    };
    match write(&mut sink("stranger.crt"), &[(bar, 1)]).await {
        Err(WriteError::Later(error)) => assert!(format!("{error:#}").contains("certificate"), "{error:#}"),
        other => panic!("must be Later, is {other:?}"),
    }
    write(&mut sink("ca.crt"), &[(bar, 1)]).await.unwrap();
    assert_eq!(held::<DayBar>(&server, Kind::BarDay).unwrap().len(), 1);
}
