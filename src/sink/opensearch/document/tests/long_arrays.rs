use super::*;

#[test]
fn long_arrays_are_copied_unless_a_name_repeats_in_an_element() {
    let list = |element: &str| format!("[{}]", vec![element; 40].join(","));
    let inner = list(r#"{"c":1,"d":[{"e":2},{"e":3}]}"#);
    let usual = [
        inner.clone(),
        format!(r#"[{{"a":1,"b":{inner},"c":2}},{{"a":1,"b":{inner},"c":2}}]"#),
        format!(r#"{{"b":{inner},"bb":{inner}}}"#),
        format!("[{inner},{inner}]"),
        list(r#"{"a":[{"b":{"c":1,"d":2},"e":[]},{"b":{"c":1}}],"f":1}"#),
    ];
    let repeating = [
        format!(r#"{{"a":1,"b":{inner},"a":2}}"#),
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"a":{"b":1},"c":{"b":1},"a":{"c":1}}"#.to_owned(),
        list(r#"{"c":1,"d":[{"e":2},{"e":3}],"c":2}"#),
    ];
    for mut writer in [Writer::nested(), Writer::flat()] {
        for items in &usual {
            let record = format!(r#"{{"requestParameters":{{"x":1,"items":{items},"more":{items}}}}}"#);
            let (plain, _) = writer.both(&record, &mut Overlay::default());
            assert_eq!(writer.write(&record), plain);
            assert!(writer.fits(&record), "{items}");
        }
    }
    let mut writer = Writer::nested();
    for element in &repeating {
        for record in [
            format!(r#"{{"requestParameters":{{"items":[{},{element}]}}}}"#, vec!["{\"a\":1}"; 40].join(",")),
            format!(r#"{{"requestParameters":{{"items":{}}}}}"#, list(element)),
            format!(r#"{{"requestParameters":{{"x":1,"items":{},"x":2}}}}"#, list("{\"a\":1}")),
        ] {
            let (before, _) = (writer.made()[3], writer.write(&record));
            assert!(!writer.fits(&record) && writer.made()[3] > before, "{record}");
        }
    }
}
