//! Servers that answer before they have read a request, and whose own answers do not end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::formats::sorted;
use crate::here::{Here, id, log_file, record};

/// A server of which each connection, by its number from 0, is treated so.
fn serving(treat: impl Fn(usize, &TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let treat = Arc::new(treat);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (stream, treat) = (stream.unwrap(), treat.clone());
            std::thread::spawn(move || treat(number, &stream));
        }
    });
    format!("http://{address}/in")
}

/// The length of the body of the next request; `None`: there is none.
fn head(reader: &mut BufReader<&TcpStream>) -> Option<usize> {
    let (mut line, mut length) = (String::new(), None);
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse().unwrap());
        }
        if line == "\r\n" {
            return length;
        }
    }
}

fn body(reader: &mut BufReader<&TcpStream>, length: usize) -> Vec<String> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap().lines().map(id).collect()
}

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[test]
fn what_is_answered_before_it_can_have_been_read_is_sent_again() {
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    let own = ids.clone();
    let url = serving(move |number, stream| {
        let mut reader = BufReader::new(stream);
        while let Some(length) = head(&mut reader) {
            if number == 0 {
                let mut stream = stream;
                stream.write_all(TAKEN).unwrap();
                // Nothing of the body is read; the connection stays until the other side gives it up.
                std::thread::park();
            }
            let read = body(&mut reader, length);
            own.lock().unwrap().extend(read);
            let mut stream = stream;
            stream.write_all(TAKEN).unwrap();
        }
    });
    // More than the sockets of both sides hold.
    let more = "batch = { bytes = \"32 MiB\" }";
    let here = Here::with(&format!("[sinks.lake]\ntype = \"http\"\nurl = \"{url}\"\n{more}"));
    let names: Vec<String> = (0..24).map(|number| format!("r{number}")).collect();
    let pad = format!(",\"pad\":\"{}\"", "x".repeat(1 << 20));
    let records: Vec<String> = names.iter().map(|id| record(id, &pad)).collect();
    here.put("trail/a.json", log_file(&records));
    let ran = here.once();
    ran.ended(0);
    assert_eq!(sorted(ids.lock().unwrap().clone()), sorted(names));
    assert_eq!(ran.told("before it had read the request").len(), 1, "{}", ran.said);
}

#[test]
fn a_success_is_one_whatever_becomes_of_its_body() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (ids, dropped): (Arc<Mutex<Vec<String>>>, Arc<Mutex<usize>>) = Default::default();
    let (own, ended) = (ids.clone(), dropped.clone());
    let url = serving(move |number, stream| {
        let mut reader = BufReader::new(stream);
        let Some(length) = head(&mut reader) else { return };
        let read = body(&mut reader, length);
        own.lock().unwrap().extend(read);
        let mut stream = stream;
        stream.write_all(HEAD).unwrap();
        // Every other one goes on and on; the others say nothing more.
        let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
        while number % 2 == 0 && stream.write_all(chunk.as_bytes()).is_ok() {}
        // Its end is that of the connection.
        let _ = reader.read_to_end(&mut Vec::new());
        *ended.lock().unwrap() += 1;
    });
    let more = "batch = { events = 5 }\nconnection = { timeout = \"1s\" }";
    let here = Here::with(&format!("[sinks.lake]\ntype = \"http\"\nurl = \"{url}\"\n{more}"));
    let expected = crate::formats::records(&here, 20);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(sorted(ids.lock().unwrap().clone()), sorted(expected), "nothing is sent again: {}", ran.said);
    assert!(crate::here::wait(|| *dropped.lock().unwrap() == 4).is_none());
}
