//! The agent tells its token to nobody but whom its certificate names.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use sqep_qmt::{config::AgentSettings, listen::listen, secret::Token, session::Door, tls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    scene::{SCENE, Scene, play},
    standin::{Agent, RUN, TOKEN, shipped},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_speaks_tls_and_only_with_whom_its_certificate_names() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (cert, key) =
            (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let settings = AgentSettings {
            tls_cert_file: Some(cert.clone()),
            tls_key_file: Some(key),
            ..AgentSettings::default()
        };
        (cert.to_str().unwrap().to_owned(), tls::acceptor(&settings).unwrap())
    };
    let (cert, acceptor) = made("localhost");
    play(Scene { tls: acceptor, more: &["--tls-ca", &cert], kills: 2, comes: 3, ..SCENE }).await;
    // It is not who it should be: the token is not told.
    let (cert, acceptor) = made("elsewhere");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let door = Door { token: Token::from(TOKEN), unit: None };
    let mut events = listen(listener, door, AgentSettings::default(), acceptor, CancellationToken::new());
    let mut command = shipped(RUN, &address, folder.path(), 0.0, &["--tls-ca", &cert], &[]);
    let mut agent = Agent(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(agent.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("CERTIFICATE_VERIFY_FAILED"), "{line}");
    assert!(events.try_recv().is_err(), "nobody came");
}
