//! Few descriptors: who connects leaves some for the work. One test alone, for the limit is the whole process's.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::fs::File;
use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vedette_service::http::{Pages, bind, serve};

/// Connections that ask nothing: with as many at the other end they would be all that is allowed.
const IDLE: usize = 30;

struct Shown;

impl Pages for Shown {
    fn metrics(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(Vec::new())
    }

    fn waits_for(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn who_connects_leaves_descriptors_for_the_work() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(Shown), None, pending()));
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(address).await.unwrap());
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        File::open("/dev/null").unwrap();
    }
}
