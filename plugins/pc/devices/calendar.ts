// The calendar of a real-time clock: seconds since 1970 to and from the clock's fields (Gregorian, no leap seconds; days
// from civil dates after Richards, "Calendrical calculations in the explanatory supplement", 2013).

/** Fields of a date as the clock's registers hold them. */
export interface CalendarFields {
  second: number;
  minute: number;
  hour: number;
  /** 1-31, 1-12. */
  day: number;
  month: number;
  year: number;
}

export const SECONDS_PER_DAY = 86400;
/** Day number of 1970-01-01 counted from 0000-03-01, and days in 400 years. */
const EPOCH_DAY = 719468, ERA_DAYS = 146097;

/** Days since 1970-01-01. Fields out of range carry into the next ones. */
export function daysOf(year: number, month: number, day: number): number {
  const months = year * 12 + month - 3;
  const y = Math.floor(months / 12), monthFromMarch = months - y * 12;
  const leapDays = Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400);
  return y * 365 + leapDays + Math.floor((153 * monthFromMarch + 2) / 5) + day - 1 - EPOCH_DAY;
}

/** Seconds since 1970-01-01T00:00:00 of the given fields. */
export function secondsOf(fields: CalendarFields): number {
  const { year, month, day, hour, minute, second } = fields;
  return daysOf(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
}

/** Fields of a number of seconds since 1970-01-01T00:00:00. */
export function fieldsOf(seconds: number): CalendarFields {
  const days = Math.floor(seconds / SECONDS_PER_DAY), inDay = seconds - days * SECONDS_PER_DAY;
  const shifted = days + EPOCH_DAY, era = Math.floor(shifted / ERA_DAYS), dayOfEra = shifted - era * ERA_DAYS;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  return {
    second: inDay % 60,
    minute: Math.floor(inDay / 60) % 60,
    hour: Math.floor(inDay / 3600),
    day: dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1,
    month,
    year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0),
  };
}

/** Day of the week as the clock counts: Sunday is 1. */
export function weekdayOf(seconds: number): number {
  const days = Math.floor(seconds / SECONDS_PER_DAY);
  return ((days + 4) % 7 + 7) % 7 + 1;
}
