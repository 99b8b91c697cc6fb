//! How many events are behind, and how long it takes to catch up with them.
//!
//! Nobody tells how many events there are. A page holds the newest before some moment, so the time that it spans tells how
//! many there are in a second around it. A few such moments of the last day and of the whole range are looked at.

use std::time::Duration;

use super::{Ask as _, Pace, Range, Refused, Region};

/// What is not farther behind needs no estimate, milliseconds.
const SOON: i64 = 10 * 60_000;
const DAY: i64 = 24 * 3_600_000;
/// How far before a moment a page may begin.
const SPAN: i64 = 2 * 3_600_000;

/// Pages for one moment, at most.
const PAGES: u32 = 8;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// Events that are behind.
    pub(super) behind: f64,
    /// Events in a second, now.
    pub(super) rate: f64,
}

/// Looks at a few moments of a range. `None`: there is not much in it.
pub(super) async fn look(region: &Region, range: Range, pace: &Pace) -> Result<Option<Estimate>, Refused> {
    let length = range.to - range.from;
    if length < SOON {
        return Ok(None);
    }
    let (mut all, mut lately) = (Vec::new(), Vec::new());
    for eighth in [1, 3, 5, 7] {
        all.push(rate(region, range.from + length / 8 * eighth, range.from, pace).await?);
    }
    let day = length.min(DAY);
    for quarter in 0..4 {
        lately.push(rate(region, range.to - day / 4 * quarter, range.from, pace).await?);
    }
    Ok(Some(of(&all, &lately, length)))
}

/// The estimate from events in a second, over the whole range and over its last day.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn of(all: &[f64], lately: &[f64], length: i64) -> Estimate {
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let (day, seconds) = (length.min(DAY) as f64 / 1000.0, length as f64 / 1000.0);
    let behind = mean(all) * (seconds - day) + mean(lately) * day;
    Estimate { behind, rate: mean(lately) }
}

/// Events in a second before a moment.
async fn rate(region: &Region, until: i64, least: i64, pace: &Pace) -> Result<f64, Refused> {
    let range = Range { from: (until - SPAN).max(least), to: until.max(least + 1000) };
    let (mut times, mut token) = (Vec::new(), None::<String>);
    for _ in 0..PAGES {
        pace.turn().await;
        let page = region.page(range, token.as_deref()).await?;
        times.extend(page.events.iter().map(|event| event.time / 1000));
        token = page.token;
        if token.is_none() || span(&times) >= 3 {
            break;
        }
    }
    Ok(of_times(&times, token.is_none().then_some(range)))
}

/// Seconds between the first and the last of some times, which are in seconds.
fn span(times: &[i64]) -> i64 {
    times.iter().max().zip(times.iter().min()).map_or(0, |(newest, oldest)| newest - oldest)
}

/// Events in a second, by the times of some that follow each other; `whole`: there are no others in this range.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn of_times(times: &[i64], whole: Option<Range>) -> f64 {
    let (newest, oldest) = (times.iter().max(), times.iter().min());
    if let Some(range) = whole {
        return times.len() as f64 * 1000.0 / (range.to - range.from).max(1000) as f64;
    }
    // Of the first and the last second there may be more.
    let inside = times.iter().filter(|time| Some(*time) != newest && Some(*time) != oldest).count();
    match span(times) {
        seconds @ 2.. => inside as f64 / (seconds - 1) as f64,
        seconds => times.len() as f64 / (seconds + 1) as f64,
    }
}

impl Estimate {
    /// In words; `Err`: it never catches up. `ceiling`: events in a second, at most.
    pub(super) fn words(&self, ceiling: u32) -> Result<String, String> {
        let Estimate { behind, rate } = *self;
        let most = f64::from(ceiling);
        let trail = "create a trail and read its bucket (`s3`), or choose fewer events with `lookup`";
        if rate >= most {
            return Err(format!(
                "it can never catch up: about {rate:.0} events happen in a second, and LookupEvents gives at most {ceiling}: {trail}"
            ));
        }
        let seconds = behind / (most - rate);
        let text = format!(
            "about {behind:.0} events are behind and {rate:.1} happen in a second; LookupEvents gives at most {ceiling}: caught up in about {}",
            shown(Duration::from_secs_f64(seconds.clamp(1.0, 1e9)))
        );
        // What is older than 90 days is gone before it is read.
        if seconds > 90.0 * 86_400.0 {
            Err(format!("it can hardly catch up: {text}: {trail}"))
        } else {
            Ok(text)
        }
    }
}

/// A duration in the units that matter.
fn shown(duration: Duration) -> String {
    let minutes = duration.as_secs().div_ceil(60);
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_tell_how_many_events_there_are_in_a_second() {
        let full = |each: i64, events: i64| -> Vec<i64> { (0..events).map(|at| 1000 - at / each).collect() };
        assert_eq!(of_times(&full(140, 600), None), 140.0);
        assert_eq!(of_times(&full(1, 50), None), 1.0);
        assert_eq!(of_times(&full(500, 400), None), 400.0);
        assert_eq!(of_times(&[7, 9], Some(Range { from: 0, to: 100_000 })), 0.02);
        assert_eq!(of_times(&[], Some(Range { from: 0, to: 100_000 })), 0.0);
    }

    #[test]
    fn the_estimate_says_how_long_it_takes_or_that_it_never_ends() {
        let estimate = of(&[1.0; 4], &[2.0; 4], 90 * DAY);
        assert_eq!(estimate, Estimate { behind: 89.0 * 86_400.0 + 2.0 * 86_400.0, rate: 2.0 });
        for (behind, rate, ceiling, expected) in [
            (7_862_400.0, 2.0, 100, Ok("caught up in about 22 h 18 min")),
            (500.0, 0.1, 100, Ok("caught up in about 1 min")),
            (40_000_000.0, 60.0, 100, Ok("caught up in about 11 d 13 h")),
            (500_000_000.0, 99.0, 100, Err("it can hardly catch up")),
            (
                1.0,
                140.0,
                100,
                Err(
                    "it can never catch up: about 140 events happen in a second, and LookupEvents gives at most 100: create a trail",
                ),
            ),
            (1.0, 60.0, 50, Err("gives at most 50")),
        ] {
            let words = Estimate { behind, rate }.words(ceiling);
            match (&words, expected) {
                (Ok(words), Ok(expected)) | (Err(words), Err(expected)) => {
                    assert!(words.contains(expected), "{words}")
                }
                _ => panic!("{words:?}"),
            }
        }
    }
}
