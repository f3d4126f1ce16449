//! Prometheus text as numbers. Reads what a daemon serves at /metrics; produces series to ask for by name and labels.
use std::{collections::BTreeMap, fmt, net::SocketAddr};

use crate::{
    error::{Error, Result},
    loopback,
};

type Labels = BTreeMap<String, String>;

/// One scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<(String, Labels), f64>);

impl Metrics {
    /// Scrapes `http://{server}/metrics`.
    ///
    /// # Errors
    /// When there is no answer, or it is not Prometheus text.
    pub async fn scrape(server: SocketAddr) -> Result<Self> {
        let answer = loopback::get(server, "/metrics").await?;
        if answer.status != 200 {
            let loopback::Answer { status, body } = answer;
            return Err(Error::Unexpected(format!("http://{server}/metrics answers {status}: {body}")));
        }
        Self::parse(&answer.body)
    }

    /// Reads Prometheus text, format 0.0.4.
    ///
    /// # Errors
    /// When a line is none of it, or a series appears twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut series = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || Error::Unexpected(format!("no metric: {line}"));
            let (name, labels, value) = sample(line).ok_or_else(bad)?;
            if series.insert((name, labels), value).is_some() {
                return Err(Error::Unexpected(format!("twice in one scrape: {line}")));
            }
        }
        Ok(Self(series))
    }

    /// The one series with this name and exactly these labels.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let owned = |text: &&str| (*text).to_owned();
        let labels = labels.iter().map(|(k, v)| (owned(k), owned(v))).collect();
        self.0.get(&(name.to_owned(), labels)).copied()
    }

    /// The sum of the series with this name that carry at least these labels; 0 when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series()
            .filter(|(found, carried, _)| {
                *found == name && labels.iter().all(|(key, value)| carried.get(*key).is_some_and(|v| v == value))
            })
            .map(|(_, _, value)| value)
            .sum()
    }

    /// Every series: name, labels, value, in the order of names.
    pub fn series(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>, f64)> {
        self.0.iter().map(|((name, labels), value)| (name.as_str(), labels, *value))
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, labels, value) in self.series() {
            let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
            writeln!(f, "{name}{{{}}} {value}", labels.join(","))?;
        }
        Ok(())
    }
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Labels::new(), rest),
    };
    // A time stamp may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), labels, value))
}

/// Reads `key="value",…}` and returns what follows it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        rest = loop {
            match characters.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = r#"
# HELP changes_total Changes.
# TYPE changes_total counter
changes_total{rule="etc",change_type="Added"} 2
changes_total{rule="etc",change_type="Modified"} 3
changes_total{rule="bin",change_type="Added"} 5 1732420000000
up 1
latency_bucket{le="+Inf"} 7
odd{text="a \"b\", {c}\\ \n",} +Inf
"#;

    #[test]
    fn a_series_is_found_by_name_and_all_its_labels_in_any_order() {
        let metrics = Metrics::parse(TEXT).unwrap();
        let added = [("change_type", "Added"), ("rule", "etc")];
        assert_eq!(metrics.get("changes_total", &added), Some(2.0));
        assert_eq!(metrics.get("changes_total", &[("rule", "etc")]), None);
        assert_eq!(metrics.get("up", &[]), Some(1.0));
    }

    #[test]
    fn a_sum_is_over_all_series_that_carry_the_labels() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.sum("changes_total", &[("rule", "etc")]), 5.0);
        assert_eq!(metrics.sum("changes_total", &[]), 10.0);
        assert_eq!(metrics.sum("nothing", &[]), 0.0);
    }

    #[test]
    fn escapes_and_infinities_are_read() {
        let metrics = Metrics::parse(TEXT).unwrap();
        let odd = [("text", "a \"b\", {c}\\ \n")];
        assert_eq!(metrics.get("odd", &odd), Some(f64::INFINITY));
    }

    #[test]
    fn what_is_no_metric_is_refused_by_line() {
        for bad in ["up", "up one", "up{a=\"b} 1"] {
            let error = Metrics::parse(bad).unwrap_err().to_string();
            assert!(error.ends_with(bad), "{error}");
        }
        assert!(Metrics::parse("up 1\nup 2").is_err());
    }
}
