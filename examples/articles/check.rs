//! Whether a program printed what its article says.

/// Which lines may come in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Line by line as written.
    Fixed,
    /// In order among those that begin with the same word.
    PerSide,
    /// In any order.
    Any,
}

/// Compares what was printed with what is written; a `*` there stands for any text.
pub(crate) fn compare(expected: &str, printed: &[String], order: Order) -> Result<(), String> {
    let mut expected: Vec<&str> = expected.lines().collect();
    let mut lines: Vec<&str> = printed.iter().map(String::as_str).collect();
    match order {
        Order::Fixed => {}
        // Stable: lines of one side keep their order.
        Order::PerSide => {
            for lines in [&mut expected, &mut lines] {
                lines.sort_by_key(|line| side(line));
            }
        }
        Order::Any => {
            for lines in [&mut expected, &mut lines] {
                lines.sort_unstable();
            }
        }
    }
    let same = expected.len() == lines.len() && expected.iter().zip(&lines).all(|(text, line)| matches(text, line));
    if same { Ok(()) } else { Err(format!("expected {expected:#?}\nprinted {lines:#?}")) }
}

fn side(line: &str) -> &str {
    line.split(' ').next().unwrap_or(line)
}

fn matches(text: &str, line: &str) -> bool {
    match text.split_once('*') {
        Some((start, end)) => line.len() >= start.len() + end.len() && line.starts_with(start) && line.ends_with(end),
        None => text == line,
    }
}

#[test]
fn compares() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(compare("a 1\nb 1", &lines("a 1\nb 1"), Order::Fixed).is_ok());
    assert!(compare("a 1\nb 1", &lines("b 1\na 1"), Order::Fixed).is_err());
    assert!(compare("a 1\na 2\nb 1", &lines("b 1\na 1\na 2"), Order::PerSide).is_ok());
    assert!(compare("a 1\na 2\nb 1", &lines("b 1\na 2\na 1"), Order::PerSide).is_err());
    assert!(compare("a 1\na 2", &lines("a 2\na 1"), Order::Any).is_ok());
    assert!(compare("a 1\na 2", &lines("a 2"), Order::Any).is_err());
    assert!(compare("in * s", &lines("in 0.5 s"), Order::Fixed).is_ok());
    assert!(compare("in * s", &lines("in s"), Order::Fixed).is_err());
}
