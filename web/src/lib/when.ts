/** Dates and ages in the page's language. */
import { language } from './i18n';

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** `3 min ago`, `in 2 h`: the distance of an instant from now. */
export function distance(instant: string | number, now = Date.now()): string {
  const seconds = Math.round((new Date(instant).getTime() - now) / 1000);
  const size = Math.abs(seconds);
  const words = new Intl.RelativeTimeFormat(language.value, { numeric: 'auto', style: 'short' });
  if (size < MINUTE) return words.format(0, 'second');
  if (size < HOUR) return words.format(Math.trunc(seconds / MINUTE), 'minute');
  if (size < DAY) return words.format(Math.trunc(seconds / HOUR), 'hour');
  return words.format(Math.trunc(seconds / DAY), 'day');
}

/** `4 minutes`, `2 hours`: how far an instant is from now, without a direction. */
export function howLong(instant: string | number, now = Date.now()): string {
  const size = Math.abs(new Date(instant).getTime() - now) / 1000;
  const [unit, value] =
    size < HOUR ? ['minute', size / MINUTE] : size < 2 * DAY ? ['hour', size / HOUR] : ['day', size / DAY];
  const style = { style: 'unit', unit, unitDisplay: size < HOUR ? 'short' : 'long' } as const;
  return new Intl.NumberFormat(language.value, style).format(
    Math.max(Math.trunc(Number(value)), unit === 'minute' ? 1 : 0),
  );
}

export function dateTime(instant: string | number): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(instant));
}

export function clock(instant: string | number): string {
  return new Intl.DateTimeFormat(language.value, { timeStyle: 'medium' }).format(new Date(instant));
}

/** A calendar date from DICOM `YYYYMMDD` or ISO `YYYY-MM-DD`, as the language writes it; other text comes back unchanged. */
export function calendarDate(text: string | null | undefined): string {
  if (!text) return '';
  const parts = /^(\d{4})-?(\d{2})-?(\d{2})/.exec(text);
  if (!parts) return text;
  const day = new Date(Number(parts[1]), Number(parts[2]) - 1, Number(parts[3]));
  return new Intl.DateTimeFormat(language.value, { dateStyle: 'medium' }).format(day);
}

/** Whole years between a birth date and now, or null when the date is not readable or still to come. */
export function ageYears(birthDate: string | null | undefined, now = new Date()): number | null {
  const parts = /^(\d{4})-?(\d{2})-?(\d{2})/.exec(birthDate ?? '');
  if (!parts) return null;
  const [year, month, day] = [Number(parts[1]), Number(parts[2]) - 1, Number(parts[3])];
  const before = now.getMonth() < month || (now.getMonth() === month && now.getDate() < day);
  const years = now.getFullYear() - year - (before ? 1 : 0);
  return years < 0 ? null : years; // a birth date in the future is no age
}

/** Hours and minutes from DICOM `HHMMSS` or ISO `HH:MM:SS`. */
export function timeOfDay(text: string | null | undefined): string {
  const parts = /^(\d{2}):?(\d{2})/.exec(text ?? '');
  return parts ? `${parts[1]}:${parts[2]}` : '';
}
