//! Who may read `/metrics`, as the API server says it: a TokenReview tells who a bearer is, a SubjectAccessReview whether they
//! may get that path.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::api_server::ApiServer;
use crate::refusal::reason;
use crate::retry::{Retry, lasting, rough};

/// Whoever was let in is not asked about again for this long.
const WELCOME: Duration = Duration::from_secs(60);
/// While the API server cannot say, whoever it let in goes on reading for as long as a pod's token lives: its outage is when
/// metrics are needed.
const WITHOUT_ANSWER: Duration = Duration::from_secs(3600);
/// Readers are few. More of them are asked about each time.
const MOST: usize = 64;
/// Whoever sends tokens that nobody knows does not have us ask faster than this.
const BETWEEN_REVIEWS: Duration = Duration::from_millis(50);
/// A scrape that waits longer is given up by a Prometheus with its usual settings.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

type Token = [u8; 32];

/// What is known of those who ask.
pub(super) struct Readers {
    server: ApiServer,
    /// When they were let in last.
    welcome: Mutex<HashMap<Token, Instant>>,
    reviews: tokio::sync::Mutex<Reviews>,
}

struct Reviews {
    next: Instant,
    retry: Retry,
    /// Until when the API server is left alone after it gave no answer, and why it gave none.
    pause: Option<(Instant, String)>,
}

/// What the API server says of a bearer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome,
    /// It does not know the token.
    Unknown,
    /// This user may not.
    Forbidden(String),
    /// It could not be asked.
    NoAnswer(String),
}

impl Readers {
    pub(super) fn new(server: ApiServer) -> Self {
        let reviews = Reviews { next: Instant::now(), retry: Retry::new(LONGEST_PAUSE), pause: None };
        Self { server, welcome: Mutex::default(), reviews: tokio::sync::Mutex::new(reviews) }
    }

    /// Whether the bearer of this token may read `path`.
    pub(super) async fn may_read(&self, token: &str, path: &str) -> Verdict {
        let key = Sha256::digest(token.as_bytes()).into();
        if self.was_let_in(&key, WELCOME) {
            return Verdict::Welcome;
        }
        let mut reviews = self.reviews.lock().await;
        // Another connection may have asked meanwhile.
        if self.was_let_in(&key, WELCOME) {
            return Verdict::Welcome;
        }
        if let Some((until, why)) = &reviews.pause
            && *until > Instant::now()
        {
            return self.without_answer(&key, why);
        }
        sleep_until(reviews.next).await;
        reviews.next = Instant::now() + BETWEEN_REVIEWS;
        let answer = timeout(ANSWER_WITHIN, self.review(token, path)).await;
        let verdict = match answer {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => return self.failed(&mut reviews, &key, reason(&error)),
            Err(_) => {
                let why = format!("it does not answer within {}s", ANSWER_WITHIN.as_secs());
                return self.failed(&mut reviews, &key, why);
            }
        };
        if let Some(lasted) = reviews.retry.succeeded(Instant::now()) {
            info!("tokens are reviewed at {} again, after {}", self.server.url(), rough(lasted));
        }
        self.note(key, verdict == Verdict::Welcome);
        verdict
    }

    fn failed(&self, reviews: &mut Reviews, token: &Token, why: String) -> Verdict {
        let failed = reviews.retry.failed(Instant::now());
        if let Some(lasted) = failed.say {
            warn!("cannot have a reader reviewed at {}{}: {why}", self.server.url(), lasting(lasted));
        }
        let verdict = self.without_answer(token, &why);
        reviews.pause = Some((Instant::now() + failed.pause, why));
        verdict
    }

    fn without_answer(&self, token: &Token, why: &str) -> Verdict {
        if self.was_let_in(token, WITHOUT_ANSWER) { Verdict::Welcome } else { Verdict::NoAnswer(why.to_owned()) }
    }

    fn was_let_in(&self, token: &Token, within: Duration) -> bool {
        let welcome = self.welcome.lock().unwrap_or_else(PoisonError::into_inner);
        welcome.get(token).is_some_and(|last| last.elapsed() < within)
    }

    fn note(&self, token: Token, is_welcome: bool) {
        let mut welcome = self.welcome.lock().unwrap_or_else(PoisonError::into_inner);
        welcome.remove(&token);
        welcome.retain(|_, last| last.elapsed() < WITHOUT_ANSWER);
        if is_welcome {
            if welcome.len() >= MOST
                && let Some(oldest) = welcome.iter().min_by_key(|(_, last)| **last).map(|(token, _)| *token)
            {
                welcome.remove(&oldest);
            }
            welcome.insert(token, Instant::now());
        }
    }

    async fn review(&self, token: &str, path: &str) -> kube::Result<Verdict> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.server.client());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Verdict::Unknown);
        };
        let name = user.username.clone().unwrap_or_default();
        let reviews: Api<SubjectAccessReview> = Api::all(self.server.client());
        let answer = reviews.create(&PostParams::default(), &access(user, path)).await?;
        let is_allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if is_allowed { Verdict::Welcome } else { Verdict::Forbidden(name) })
    }
}

fn access(user: UserInfo, path: &str) -> SubjectAccessReview {
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(attributes),
        resource_attributes: None,
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// Answers reviews as this one says: of a token, who it is; of a user, whether they may. Counts reviews of tokens.
    fn readers(
        user: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
        may: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> (Readers, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, judge) = (Arc::clone(&asked), Arc::new((user, may)));
        let service = service_fn(move |request: http::Request<Body>| {
            let (counted, judge) = (Arc::clone(&counted), Arc::clone(&judge));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                if let Some(token) = review["spec"]["token"].as_str() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if token == "hang" {
                        std::future::pending::<()>().await;
                    }
                    review["status"] = match judge.0(token) {
                        Some(name) => json!({"authenticated": true, "user": {"username": name, "groups": ["g"]}}),
                        None => json!({"error": "invalid"}),
                    };
                } else {
                    let spec = &review["spec"];
                    assert_eq!(spec["nonResourceAttributes"], json!({"path": "/metrics", "verb": "get"}));
                    assert_eq!(spec["groups"], json!(["g"]));
                    review["status"] = json!({"allowed": judge.1(spec["user"].as_str().unwrap())});
                }
                Ok::<_, Infallible>(http::Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        (Readers::new(ApiServer::of(Client::new(service, "default"))), asked)
    }

    async fn ask(readers: &Readers, token: &str) -> Verdict {
        readers.may_read(token, "/metrics").await
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_may_is_asked_about_once_a_minute_and_whoever_may_not_each_time() {
        let user =
            |token: &str| if token == "nobody" { None } else { Some(if token == "p" { "prometheus" } else { "eve" }) };
        let (readers, asked) = readers(user, |name| name == "prometheus");
        for _ in 0..5 {
            assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(WELCOME).await;
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(ask(&readers, "e").await, Verdict::Forbidden("eve".into()));
        assert_eq!(ask(&readers, "nobody").await, Verdict::Unknown);
        assert_eq!(ask(&readers, "nobody").await, Verdict::Unknown);
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_let_in_reads_on_while_the_api_server_hangs_and_not_for_ever() {
        let (readers, asked) = readers(|_| Some("u"), |_| true);
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        tokio::time::advance(WELCOME).await;
        let Verdict::NoAnswer(why) = ask(&readers, "hang").await else { panic!("nobody answered") };
        assert_eq!(why, "it does not answer within 5s");
        // It is left alone for a while: a scrape does not wait for it again.
        let before = (Instant::now(), asked.load(Ordering::Relaxed));
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        assert_eq!(ask(&readers, "new").await, Verdict::NoAnswer(why.clone()));
        assert_eq!((Instant::now(), asked.load(Ordering::Relaxed)), before);
        tokio::time::advance(WITHOUT_ANSWER).await;
        let Verdict::NoAnswer(_) = ask(&readers, "hang").await else { panic!("nobody answered") };
        assert_eq!(ask(&readers, "p").await, Verdict::NoAnswer(why));
        tokio::time::advance(LONGEST_PAUSE).await;
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome, "it answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn whose_right_was_taken_is_out_within_a_minute_and_stays_out_in_an_outage() {
        let may = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let says = Arc::clone(&may);
        let (readers, _) = readers(|_| Some("u"), move |_| says.load(Ordering::Relaxed));
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        may.store(false, Ordering::Relaxed);
        tokio::time::advance(WELCOME).await;
        assert_eq!(ask(&readers, "p").await, Verdict::Forbidden("u".into()));
        let Verdict::NoAnswer(_) = ask(&readers, "hang").await else { panic!("nobody answered") };
        let Verdict::NoAnswer(_) = ask(&readers, "p").await else { panic!("they were let in once, and then not") };
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tokens_does_not_become_one_of_reviews_nor_of_memory() {
        let (readers, asked) = readers(|_| Some("u"), |_| true);
        let began = Instant::now();
        for number in 0..4 * MOST {
            assert_eq!(ask(&readers, &number.to_string()).await, Verdict::Welcome);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 4 * MOST);
        assert!(began.elapsed() >= BETWEEN_REVIEWS * u32::try_from(4 * MOST - 1).unwrap());
        assert_eq!(readers.welcome.lock().unwrap().len(), MOST);
    }
}
