//! A page of tables and lines for people: columns line up, and what matters stands out.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Width};

use super::words::harmless;

/// A column that gives way is not made narrower than this: an id is told apart by as much.
const SHORTENED_MIN: u16 = 9;
/// Between two columns.
const GAP: u16 = 2;

/// How a line looks. What it means is in its words, too: not everybody sees colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As all others.
    #[default]
    Plain,
    /// A title.
    Title,
    /// Worth a look: a late tunnel, one that drains.
    Warning,
    /// Something is wrong: an actor is stuck.
    Alarm,
}

/// What a column holds, and what becomes of it on a terminal that is too narrow for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Words: they begin at the left.
    Text(&'static str),
    /// Words that may be shortened.
    Long(&'static str),
    /// Words that may be shortened, and left out.
    Spare(&'static str),
    /// Numbers: they end at the right.
    Number(&'static str),
    /// Numbers that may be left out.
    SpareNumber(&'static str),
}

/// Lines, each with its look.
#[derive(Debug, Default)]
pub(super) struct Page {
    lines: Vec<(Tone, String)>,
    /// Of the terminal, in columns.
    width: Option<u16>,
}

impl Page {
    /// For a terminal of this width, or for a file.
    pub(super) fn new(width: Option<u16>) -> Self {
        Self { lines: Vec::new(), width }
    }

    /// One line.
    pub(super) fn line(&mut self, tone: Tone, text: &str) {
        self.lines.push((tone, harmless(text)));
    }

    /// A table, after a blank line. Without rows there is nothing to show.
    pub(super) fn table(&mut self, columns: &[Column], rows: Vec<(Tone, Vec<String>)>) {
        if rows.is_empty() {
            return;
        }
        let mut tones = vec![Tone::Plain, Tone::Title];
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_truncation_indicator("…");
        table.set_header(one_line(columns.iter().map(|column| column.title().to_owned())));
        for (tone, cells) in rows {
            tones.push(tone);
            table.add_row(one_line(cells.iter().map(|cell| harmless(cell))));
        }
        let widths = table.column_max_content_widths();
        for (settings, (column, widest)) in table.column_iter_mut().zip(columns.iter().zip(widths))
        {
            settings.set_padding((0, GAP));
            settings.set_cell_alignment(column.alignment());
            settings.set_constraint(column.constraint(widest));
        }
        if let Some(width) = self.width {
            // The gap after the last column may be outside.
            let width = width.saturating_add(GAP);
            leave_out(&mut table, columns, width);
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        let lines = table.lines().map(|line| line.trim_end().to_owned());
        self.lines.extend(tones.into_iter().zip([String::new()].into_iter().chain(lines)));
    }

    /// All of it, with colours or without.
    pub(super) fn text(&self, colours: bool) -> String {
        let lines = self.lines.iter().map(|(tone, line)| match tone.style() {
            Some(style) if colours => format!("{style}{line}{style:#}\n"),
            _ => format!("{line}\n"),
        });
        lines.collect()
    }
}

/// Hides columns that may be, the last first, until the others fit.
fn leave_out(table: &mut comfy_table::Table, columns: &[Column], width: u16) {
    let widths = table.column_max_content_widths();
    let least = columns.iter().zip(widths).map(|(column, width)| column.width_min(width) + GAP);
    let least: Vec<u16> = least.collect();
    let mut needed: u16 = least.iter().copied().fold(0, u16::saturating_add);
    for (settings, (column, least)) in
        table.column_iter_mut().zip(columns.iter().zip(least)).collect::<Vec<_>>().into_iter().rev()
    {
        if needed > width && matches!(column, Column::Spare(_) | Column::SpareNumber(_)) {
            settings.set_constraint(ColumnConstraint::Hidden);
            needed -= least;
        }
    }
}

fn one_line(cells: impl Iterator<Item = String>) -> Row {
    let mut row = Row::from(cells.collect::<Vec<_>>());
    row.max_height(1);
    row
}

impl Tone {
    fn style(self) -> Option<Style> {
        match self {
            Self::Plain => None,
            Self::Title => Some(Style::new().bold()),
            Self::Warning => Some(AnsiColor::Yellow.on_default()),
            Self::Alarm => Some(AnsiColor::Red.on_default().bold()),
        }
    }
}

impl Column {
    fn title(self) -> &'static str {
        let (Self::Text(title)
        | Self::Long(title)
        | Self::Spare(title)
        | Self::Number(title)
        | Self::SpareNumber(title)) = self;
        title
    }

    fn alignment(self) -> CellAlignment {
        match self {
            Self::Text(_) | Self::Long(_) | Self::Spare(_) => CellAlignment::Left,
            Self::Number(_) | Self::SpareNumber(_) => CellAlignment::Right,
        }
    }

    /// Of a column whose widest cell is so wide.
    fn width_min(self, widest: u16) -> u16 {
        match self {
            Self::Long(_) | Self::Spare(_) => widest.min(SHORTENED_MIN),
            Self::Text(_) | Self::Number(_) | Self::SpareNumber(_) => widest,
        }
    }

    fn constraint(self, widest: u16) -> ColumnConstraint {
        match self {
            Self::Long(_) | Self::Spare(_) => {
                ColumnConstraint::LowerBoundary(Width::Fixed(self.width_min(widest) + GAP))
            }
            Self::Text(_) | Self::Number(_) | Self::SpareNumber(_) => {
                ColumnConstraint::ContentWidth
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const COLUMNS: [Column; 3] =
        [Column::Long("ID"), Column::Text("STATE"), Column::Number("CALLS")];

    fn page(width: Option<u16>) -> Page {
        let row = |calls: &str| vec![ID.to_owned(), "late".to_owned(), calls.to_owned()];
        let mut page = Page::new(width);
        page.table(&COLUMNS, vec![(Tone::Warning, row("1,000")), (Tone::Plain, row("7"))]);
        page
    }

    #[test]
    fn numbers_end_in_one_column_and_nothing_is_shortened_where_there_is_room() {
        let expected = format!(
            "\nID{}STATE  CALLS\n{ID}  late   1,000\n{ID}  late       7\n",
            " ".repeat(ID.len())
        );
        assert_eq!(page(None).text(false), expected);
        assert_eq!(page(Some(80)).text(false), expected);
    }

    #[test]
    fn a_narrow_terminal_shortens_the_long_ones_alone() {
        let text = page(Some(30)).text(false);
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.contains("0f8fad5b") && text.contains("…  late   1,000"), "{text}");
    }

    #[test]
    fn what_can_be_spared_is_left_out_from_the_right() {
        let columns = [Column::Number("A"), Column::SpareNumber("B"), Column::SpareNumber("C")];
        let drawn = |width| {
            let mut page = Page::new(Some(width));
            let cells = ["1111", "2222", "3333"].map(str::to_owned).to_vec();
            page.table(&columns, vec![(Tone::Plain, cells)]);
            page.text(false)
        };
        assert!(drawn(16).ends_with("\n1111  2222  3333\n"));
        assert!(drawn(15).ends_with("\n1111  2222\n"));
        assert!(drawn(4).ends_with("\n1111\n"));
    }

    #[test]
    fn a_row_that_matters_has_a_colour_of_its_own() {
        let text = page(None).text(true);
        assert!(text.contains(&format!("\x1b[33m{ID}")), "{text:?}");
        assert!(!page(None).text(false).contains('\x1b'));
    }

    #[test]
    fn a_name_that_is_hostile_stays_in_its_line() {
        let mut page = Page::new(None);
        page.table(&[Column::Text("NAME")], vec![(Tone::Plain, vec!["a\n\x1b[2Jb".to_owned()])]);
        assert_eq!(page.text(false), "\nNAME\na\\u{a}\\u{1b}[2Jb\n");
    }
}
