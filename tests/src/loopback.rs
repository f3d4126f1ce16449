//! Plain HTTP on this machine, for what has no TLS: metrics, health, etcd. And ports that stay free for a restart.
use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher as _,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::error::{Doing as _, Error, Result};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a server on loopback answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, as in 200.
    pub status: u16,
    /// The body, invalid UTF-8 replaced.
    pub body: String,
}

/// Asks `http://{server}{path}`.
///
/// # Errors
/// When there is no answer within 10 s, or none in HTTP.
pub async fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    let connect = timeout(ANSWER_WITHIN, TcpStream::connect(server)).await;
    let stream = connect.unwrap_or_else(|late| Err(late.into())).doing(|| format!("connect to {server}"))?;
    get_on(stream, server, path).await
}

/// Asks `http://{server}{path}` on a connection to it.
pub(crate) async fn get_on(mut stream: TcpStream, server: SocketAddr, path: &str) -> Result<Answer> {
    let ask = async {
        // 1.0 rules out a chunked answer and ends it with the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let what = || format!("get http://{server}{path}");
    let answer = match timeout(ANSWER_WITHIN, ask).await {
        Ok(answer) => answer.doing(what)?,
        Err(elapsed) => return Err(io::Error::from(elapsed)).doing(what),
    };
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| Error::Unexpected(format!("http://{server}{path} does not answer in HTTP")))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer { status: head.split(' ').nth(1)?.parse().ok()?, body: body.to_owned() })
}

/// A port that nobody listens on now, below those that the kernel hands out for outgoing connections: a server that is
/// stopped finds it free again. Somebody may still be faster, so a start that fails on a taken port is tried again.
///
/// # Errors
/// When none is free.
pub fn free_port() -> Result<u16> {
    const LOWEST: u16 = 20_000;
    let highest = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
        .max(LOWEST + 1_000);
    let span = highest - LOWEST;
    // Every RandomState has other keys, so two test processes begin at other ports.
    let begin = RandomState::new().hash_one(std::process::id());
    let begin = u16::try_from(begin % u64::from(span)).unwrap_or_default();
    (0..span)
        .map(|step| LOWEST + (begin + step) % span)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| Error::Unexpected(format!("no free port from {LOWEST} to {highest}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_body() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\nnot\r\n\r\nyet").unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, "not\r\n\r\nyet");
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("SSH-2.0-x\r\n\r\n"), None);
    }

    #[test]
    fn a_free_port_can_be_bound() {
        // Somebody may be faster: a child that a test beside this one forks holds what was open here until it runs its program.
        let bound = (0..20).any(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().unwrap())).is_ok());
        assert!(bound, "none of twenty free ports could be bound");
    }
}
