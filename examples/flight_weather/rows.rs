//! Lines of the files, as they are read. What is made of them goes on as types of its own: a state is read back from a binary
//! format, where a missing value is not `NA`.

use millstream::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::missing::or_na;
use crate::records::{Flight, Weather};

/// One line of `flights.csv`; what the job does not use is left out.
#[derive(Debug, Deserialize)]
pub(crate) struct FlightRow {
    #[serde(deserialize_with = "or_na")]
    dep_delay: Option<i64>,
    carrier: String,
    flight: u32,
    #[serde(deserialize_with = "or_na")]
    tailnum: Option<String>,
    origin: String,
    distance: u64,
    minute: u32,
    #[serde(deserialize_with = "as_millis")]
    time_hour: Timestamp,
}

impl From<FlightRow> for Flight {
    fn from(row: FlightRow) -> Self {
        let FlightRow { dep_delay, carrier, flight, tailnum, origin, distance, minute, time_hour } = row;
        let scheduled = time_hour + i64::from(minute) * 60_000;
        Self { dep_delay, carrier, flight, tailnum, origin, distance, scheduled }
    }
}

/// One line of `weather.csv`.
#[derive(Debug, Deserialize)]
pub(crate) struct WeatherRow {
    origin: String,
    #[serde(deserialize_with = "or_na")]
    wind_speed: Option<f64>,
    #[serde(deserialize_with = "as_millis")]
    time_hour: Timestamp,
}

impl From<WeatherRow> for Weather {
    fn from(WeatherRow { origin, wind_speed, time_hour }: WeatherRow) -> Self {
        // It was measured in knots, and the file has it in miles an hour.
        let wind_knots = wind_speed.map(|miles| (miles / 1.15078).round() as u32);
        Self { origin, wind_knots, time_hour }
    }
}

/// A time such as `2013-01-01T10:00:00Z`, in milliseconds of the Unix epoch.
fn as_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_millisecond).map_err(|error| serde::de::Error::custom(format!("'{text}': {error}")))
}
