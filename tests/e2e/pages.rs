//! What a browser makes of the pages: nothing juts out on a desk or on a phone, light and dark, and without scripts.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::{
    harness::{Home, skipped, workspace},
    report::with_problems,
    schedule::Scheduler,
};

/// Two frames, in which no script may run; what is seen of them is told as JSON.
const FRAME: &str = r#"<!doctype html><body style="margin:0">
<iframe src="PAGE" sandbox="allow-same-origin" width="1280" height="900"></iframe>
<iframe src="PAGE" sandbox="allow-same-origin" width="390" height="844"></iframe>
<pre id="found"></pre><script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement, width = frame.clientWidth;
    const outside = [...page.body.querySelectorAll("*")].filter(one =>
      !one.closest(".scroll, svg") && one.getBoundingClientRect().right > width + 1);
    return {
      width, wide: root.scrollWidth, outside: outside.map(one => one.outerHTML.slice(0, 200)),
      numbers: [...page.querySelectorAll("data")].filter(one => one.checkVisibility()).length,
      charts: [...page.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().width > 20).length,
      paper: page.defaultView.getComputedStyle(page.body).backgroundColor,
      ink: page.defaultView.getComputedStyle(page.body).color,
    };
  });
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"#;

/// Serves the frame and the page until the test ends; the address.
fn serve(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = String::new();
            let _ = BufReader::new(&stream).read_line(&mut asked);
            let body = if asked.contains("/page") { page.clone() } else { FRAME.replace("PAGE", "/page") };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // A browser that has gone is no matter.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    address
}

/// What Chromium sees of a page at both widths; nothing where it is not there.
fn seen(home: &Home, page: &str, dark: bool) -> Option<Vec<Value>> {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].into_iter().find(|path| Path::new(path).exists());
    let Some(browser) = browser else {
        skipped("a browser looks at the pages", "chromium");
        return None;
    };
    let address = serve(page.to_owned());
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let done = Command::new("timeout")
        .args(["120", browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--window-size=1400,1000", "--virtual-time-budget=20000", &scheme])
        .arg(format!("--user-data-dir={}", home.path("browser").display()))
        .arg(format!("http://{address}/"))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&done.stdout).into_owned();
    let found = dom.split_once("<pre id=\"found\">").and_then(|(_, rest)| Some(rest.split_once("</pre>")?.0));
    let found = found.unwrap_or_else(|| panic!("{dom}{}", String::from_utf8_lossy(&done.stderr)));
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Some(serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}")))
}

fn nothing_juts_out(home: &Home, page: &str) -> Option<Vec<Value>> {
    let light = seen(home, page, false)?;
    let dark = seen(home, page, true)?;
    for frame in light.iter().chain(&dark) {
        assert!(frame["wide"].as_u64() <= frame["width"].as_u64(), "{frame}");
        assert_eq!(frame["outside"], serde_json::json!([]), "{frame}");
    }
    // Dark ink on white paper, and the reverse.
    let brightness = |frame: &Value, what: &str| -> u32 {
        let colour = frame[what].as_str().unwrap();
        colour.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok()).take(3).sum()
    };
    for (light, dark) in light.iter().zip(&dark) {
        assert!(brightness(light, "paper") > brightness(light, "ink") + 400, "{light}");
        assert!(brightness(dark, "ink") > brightness(dark, "paper") + 400, "{dark}");
    }
    Some(light)
}

#[test]
fn a_report_with_problems_fits_a_desk_and_a_phone_light_and_dark() {
    let home = Home::new();
    let run = with_problems(&home);
    let jobs = workspace().join("jobs");
    home.run(&["--jobs", jobs.to_str().unwrap(), "report", &run, "-o", "report.html"]).expect(0);
    let page = std::fs::read_to_string(home.path("report.html")).unwrap();
    let Some(frames) = nothing_juts_out(&home, &page) else { return };
    for frame in &frames {
        assert!(frame["numbers"].as_u64().unwrap() > 300 && frame["charts"].as_u64().unwrap() > 20, "{frame}");
    }
}

#[test]
fn the_page_of_the_scheduler_fits_a_desk_and_a_phone() {
    let home = Home::new();
    let name = "a-job-with-a-long-name-that-has-to-fit-a-phone-somehow";
    crate::schedule::job(&home, name, "15 2 * * *");
    home.run(&["run", name, "-q"]).expect(0);
    let scheduler = Scheduler::start(&home, "2026-03-08T06:00:00Z*1");
    let (status, page) = scheduler.get("/");
    assert!(status == 200 && page.contains("Location"), "{page}");
    // A page that loads itself again would never be done.
    nothing_juts_out(&home, &page.replace("http-equiv=\"refresh\"", ""));
}
