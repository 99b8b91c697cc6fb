//! Whoever sends nonsense, too much or too slowly gets a clear answer, takes little memory, and harms nobody else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::{Batch, Client, read_answer};
use crate::here::{Here, Running, gz, id, record};
use crate::scene::{ACCESS_KEY, PROMPT, batch, started, waiting};

/// What it may have resident: `memory` and a little.
const MOST_MEMORY: u64 = (256 + 64) << 20;

fn raw(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(bytes);
    stream
}

/// An honest request is served.
#[track_caller]
fn served(client: &Client, running: &Running, name: &str) {
    let (batch, _) = batch(name, 0, 3);
    let answer = client.send(&batch);
    assert!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{answer:?}; {}", running.said());
}

fn refuses(client: &Client, id: &str, body: &[u8], word: &str) {
    let batch = Batch { id: id.to_owned(), body: body.to_vec(), gzip: false };
    let answer = client.send(&batch).unwrap();
    let said = answer.said(id).unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(answer.status, 400, "{said}");
    assert!(said["errorMessage"].as_str().unwrap().contains(word), "{said}");
}

#[test]
fn nonsense_in_a_body_is_answered_400_and_nonsense_in_a_record_goes_to_rejects() {
    let here = waiting("", PROMPT);
    let (running, client) = started(&here);
    refuses(&client, "not-json", b"Records", "byte 0");
    refuses(&client, "cut", br#"{"requestId":"cut","records":[{"data":"e30="}"#, "ends too early");
    refuses(
        &client,
        "base64",
        br#"{"requestId":"base64","records":[{"data":"e30="},{"data":"%%%%"}]}"#,
        "record 1",
    );
    refuses(&client, "other", br#"{"requestId":"another","records":[]}"#, "`requestId`");
    let many =
        format!(r#"{{"requestId":"many","records":[{}{{"data":""}}]}}"#, r#"{"data":""},"#.repeat(10_000));
    refuses(&client, "many", many.as_bytes(), "10000");
    let damaged = Batch { gzip: true, ..Batch::new("gzip", &["{}"]) };
    assert_eq!(client.send(&damaged).unwrap().status, 400);
    // What is wrong inside a record is not the request's fault: it is kept, and not sent for ever.
    let mut packed = gz(record("cut-off", ""));
    packed.truncate(packed.len() - 12);
    let good = record("good", "");
    let pieces: [&[u8]; 5] = [
        &packed,
        b"\x1f\x8b\x08\0nonsense",
        b"{\"eventVersion\":\"1.08\",\"eventID\":",
        b"no JSON",
        good.as_bytes(),
    ];
    assert_eq!(client.send(&Batch::new("odd", &pieces)).unwrap().status, 200);
    served(&client, &running, "honest");
    let ran = running.stop();
    ran.ended(0);
    assert!(here.ids("out").contains(&"good".to_owned()));
    let rejects = here.rejects();
    let objects: Vec<&str> = rejects.iter().map(|reject| &*reject.object).collect();
    for number in [0, 1, 2, 3] {
        let address = format!("firehose://trail/odd#{number}");
        assert!(objects.contains(&&*address), "{address} in {objects:?}");
    }
}

#[test]
fn odd_heads_are_refused_in_words() {
    let here = waiting("", PROMPT);
    let (running, client) = started(&here);
    let long = "x".repeat(200_000);
    let head = client.head(&Batch::new("head", &["{}"]));
    let cases = [
        ("GARBAGE\r\n\r\n".to_owned(), 400),
        (format!("POST / HTTP/1.1\r\nX-Long: {long}\r\n\r\n"), 431),
        (format!("POST / HTTP/1.1\r\n{}\r\n", "X-Many: 1\r\n".repeat(5000)), 431),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n".to_owned(), 401),
        (head.replace("Access-Key: ", "Access-Key: \u{7f}"), 400),
        (head.replace(ACCESS_KEY, "wrong"), 401),
        (head.replace("Version: 1.0", "Version: 1.1"), 400),
        (head.replace("Id: head", "Id: \"><script>"), 400),
        (head.replace("Content-Length: ", "Content-Length: 1844674407370955161"), 400),
        (head.replace("Content-Length: ", "Content-Length: -"), 400),
        (head.replace("Content-Length: ", "Transfer-Encoding: chunked\r\nContent-Length: "), 400),
    ];
    for (text, status) in cases {
        let answer = read_answer(&mut raw(client.address, text.as_bytes()));
        let shown: String = text.chars().take(60).collect();
        assert_eq!(answer.map(|answer| answer.status), Some(status), "{shown}");
    }
    served(&client, &running, "honest");
    let ran = running.stop();
    ran.ended(0);
    assert!(!ran.said.contains(ACCESS_KEY) && !ran.said.contains("wrong\""), "{}", ran.said);
}

#[test]
fn who_is_slow_or_many_does_not_keep_others_out() {
    let here = waiting("timeout = \"3s\"\nconnections_per_peer = 200", PROMPT);
    let (running, client) = started(&here);
    // A thousand connections that say nothing, of one peer; those over its number are closed.
    let idle: Vec<TcpStream> = (0..1000).filter_map(|_| TcpStream::connect(client.address).ok()).collect();
    assert!(idle.len() > 900, "{}", idle.len());
    // Another peer, in the network of the loopback.
    let from_other = |bytes: &[u8]| {
        let socket = std::net::Ipv4Addr::new(127, 0, 0, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let from = tokio::net::TcpSocket::new_v4().unwrap();
            from.bind(SocketAddr::from((socket, 0))).unwrap();
            from.connect(client.address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = stream;
        stream.write_all(bytes).unwrap();
        read_answer(&mut stream)
    };
    let (honest, _) = batch("honest", 1, 3);
    let request = [client.head(&honest).as_bytes(), &honest.body].concat();
    let answer = from_other(&request);
    assert!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{answer:?}; {}", running.said());
    // Heads and bodies that come a byte at a time are given up.
    let began = Instant::now();
    let mut head = TcpStream::connect(client.address);
    while head.is_err() {
        head = TcpStream::connect(client.address);
    }
    drop(idle);
    let slow = std::thread::spawn({
        let (address, text) = (client.address, client.head(&honest));
        move || {
            let mut stream = raw(address, b"");
            for byte in text.bytes() {
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            let _ = stream.read(&mut [0; 1000]);
        }
    });
    let mut unfinished = raw(client.address, &request[..request.len() - 1]);
    let answer = read_answer(&mut unfinished).unwrap();
    assert!(answer.status == 400 && String::from_utf8_lossy(&answer.body).contains("in time"), "{answer:?}");
    slow.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    served(&client, &running, "after");
    let most = running.most_memory().unwrap();
    assert!(most < MOST_MEMORY, "{most}");
    running.stop().ended(0);
}

#[test]
fn large_bodies_and_bombs_take_no_memory() {
    let here = waiting("limits.object = \"64 MiB\"", PROMPT);
    let (running, client) = started(&here);
    // 100 MB, told before it comes: nothing of it is read.
    let large = Batch { id: "large".to_owned(), body: vec![b' '; 100_000_000], gzip: false };
    let mut stream = raw(client.address, &[client.head(&large).as_bytes(), &large.body[..1000]].concat());
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{answer:?}");
    assert!(answer.said("large").unwrap()["errorMessage"].as_str().unwrap().contains("67108864"));
    // The same in pieces, without its length; who sends it may not see the answer.
    let head = client.head(&large).replace("Content-Length: 100000000", "Transfer-Encoding: chunked");
    let mut stream = raw(client.address, head.as_bytes());
    let piece = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    let sent = (0..100).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!((63..100).contains(&sent), "{sent}");
    // A body of 100 MB that is small as it is sent.
    let bomb = Batch { id: "bomb".to_owned(), body: gz(vec![b' '; 100_000_000]), gzip: true };
    let answer = client.send(&bomb).unwrap();
    let said = answer.said("bomb").unwrap();
    assert!(answer.status == 400 && said["errorMessage"].as_str().unwrap().contains("67108864"), "{said}");
    let bomb = Batch { id: "bomb".to_owned(), body: gz(vec![b' '; 40_000_000]), gzip: true };
    assert_eq!(client.send(&bomb).unwrap().status, 400);
    // A record that is small and inflates to 500 MB: it goes to rejects, and the others are shipped.
    let bomb = gz(vec![b' '; 500_000_000]);
    let good = record("beside-a-bomb", "");
    let answer = client.send(&Batch::new("inner", &[&bomb[..], good.as_bytes()])).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}; {}", running.said());
    // The largest that may be.
    let pad = format!(r#","pad":"{}""#, "abcdefgh".repeat(100));
    let text: Vec<u8> =
        (0..1000).flat_map(|number| (record(&format!("big-{number}"), &pad) + "\n").into_bytes()).collect();
    let big = Batch::new("big", &vec![&text; 45]);
    assert!(big.body.len() > 50 << 20 && big.body.len() < 64 << 20, "{}", big.body.len());
    let answer = client.send(&big).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}; {}", running.said());
    let most = running.most_memory().unwrap();
    eprintln!("{} MiB resident at most", most >> 20);
    assert!(most < MOST_MEMORY, "{most}");
    let ran = running.stop();
    ran.ended(0);
    let lines = here.lines("out");
    assert_eq!(lines.len(), 45_001);
    assert!(lines.iter().any(|line| id(line) == "beside-a-bomb"));
    assert!(has_reject(&here, "firehose://trail/inner#0"));
}

fn has_reject(here: &Here, object: &str) -> bool {
    here.rejects().iter().any(|reject| reject.object == object)
}

#[test]
fn without_memory_for_it_a_request_is_answered_503_and_taken_later() {
    let here = waiting(
        "max_body = \"16 MiB\"",
        "[sinks.archive]\ntype = \"file\"\npath = \"blocked/{account}.ndjson\"\nrotate_age = \"1s\"\n",
    );
    here.set("memory = \"72 MiB\"");
    std::fs::write(here.at("blocked"), "").unwrap();
    let (running, client) = started(&here);
    let text = record("much", &format!(r#","pad":"{}""#, "abcdefgh".repeat(1000)));
    let texts = vec![text; 800];
    let large = |name: &str| Batch::new(name, &texts);
    // The sink is stalled, and what is held is held.
    let mut answers = Vec::new();
    std::thread::scope(|scope| {
        let sent: Vec<_> = (0..6)
            .map(|number| {
                let (client, batch) = (&client, large(&format!("much-{number}")));
                scope.spawn(move || client.send(&batch))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(4));
        std::fs::remove_file(here.at("blocked")).unwrap();
        answers.extend(sent.into_iter().map(|sent| sent.join().unwrap().map(|answer| answer.status)));
    });
    assert!(answers.contains(&Some(503)), "{answers:?}");
    assert!(answers.contains(&Some(200)), "{answers:?}");
    let said = running.said();
    assert!(said.contains("there is no memory for this request now"), "{said}");
    let most = running.most_memory().unwrap();
    assert!(most < (72 + 64) << 20, "{most}");
    running.stop().ended(0);
}
