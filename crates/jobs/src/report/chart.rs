//! Small charts as SVG, drawn by plotters. Their colours are the page's, so that they follow light and dark; their numbers
//! stand beside them as text.

use maud::{Markup, PreEscaped};
use plotters::{
    prelude::{DrawingArea, IntoDrawingArea, Rectangle, SVGBackend, Text},
    style::{
        Color, IntoFont, RGBColor, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

/// Colours that stand for those of the page until the drawing is done.
const BAR: RGBColor = RGBColor(1, 2, 3);
const TRACK: RGBColor = RGBColor(4, 5, 6);
const INK: RGBColor = RGBColor(7, 8, 9);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), plotters::drawing::DrawingAreaErrorKind<std::io::Error>>;

/// A share of a whole, 0 to 1, as a bar in a line of a table.
pub(super) fn share(share: f64) -> Markup {
    draw((120, 12), |area| {
        area.draw(&Rectangle::new([(0, 1), (120, 11)], TRACK.filled()))?;
        area.draw(&Rectangle::new([(0, 1), (pixels(share.clamp(0.0, 1.0) * 120.0), 11)], BAR.filled()))
    })
}

/// A row of values, the newest to the right, in a line of a table.
pub(super) fn spark(values: &[Option<u64>]) -> Markup {
    let most = values.iter().flatten().copied().max().unwrap_or_default().max(1);
    draw((100, 24), |area| {
        area.draw(&Rectangle::new([(0, 23), (100, 24)], TRACK.filled()))?;
        for (left, value) in (0_i32..).step_by(10).zip(values) {
            let Some(value) = value else { continue };
            let height = pixels(float(*value) / float(most) * 22.0).max(1);
            area.draw(&Rectangle::new([(left, 23 - height), (left + 8, 23)], BAR.filled()))?;
        }
        Ok(())
    })
}

/// Bars with their names below and their numbers above; wide enough for a phone, and no wider.
pub(super) fn bars(bars: &[(String, u64)]) -> Markup {
    const WIDTH: i32 = 340;
    let most = bars.iter().map(|(_, value)| *value).max().unwrap_or_default().max(1);
    let step = WIDTH / i32::try_from(bars.len().max(1)).unwrap_or(WIDTH);
    draw((340, 170), |area| {
        let middle = Pos::new(HPos::Center, VPos::Bottom);
        let style = TextStyle::from(("sans-serif", 11).into_font()).color(&INK).pos(middle);
        area.draw(&Rectangle::new([(0, 145), (WIDTH, 146)], TRACK.filled()))?;
        for (left, (name, value)) in (0_i32..).step_by(usize::try_from(step).unwrap_or(1)).zip(bars) {
            let height = pixels(float(*value) / float(most) * 120.0);
            area.draw(&Rectangle::new([(left + 3, 145 - height), (left + step - 3, 145)], BAR.filled()))?;
            let centre = left + step / 2;
            if *value > 0 {
                area.draw(&Text::new(short(*value), (centre, 143 - height), style.clone()))?;
            }
            area.draw(&Text::new(name.clone(), (centre, 164), style.clone()))?;
        }
        Ok(())
    })
}

fn draw(size: (u32, u32), how: impl FnOnce(&Area<'_>) -> Drawn) -> Markup {
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        how(&area).and_then(|()| area.present())
    };
    // A text that cannot be drawn leaves its numbers, which stand beside it.
    if drawn.is_err() {
        return PreEscaped(String::new());
    }
    for (stands_for, colour) in [("#010203", "var(--bar)"), ("#040506", "var(--track)"), ("#070809", "var(--ink)")] {
        text = text.replace(stands_for, colour);
    }
    // The drawing is decoration for who cannot see it: the numbers are read out.
    PreEscaped(text.replacen("<svg ", "<svg aria-hidden=\"true\" ", 1))
}

/// A number in few signs, for a label.
fn short(value: u64) -> String {
    match value {
        0..=9_999 => value.to_string(),
        10_000..=9_999_999 => format!("{}k", value / 1_000),
        _ => format!("{}M", value / 1_000_000),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a chart is some hundred pixels wide")]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}

#[allow(clippy::cast_precision_loss, reason = "a length on a screen")]
fn float(number: u64) -> f64 {
    number as f64
}
