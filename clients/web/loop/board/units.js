/** A number as people read it, by the board's units. */

const POWERS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function shown(value, unit) {
  if (value === null) return "–";
  if (unit === "s") return value !== 0 && Math.abs(value) < 1 ? `${digits(1000 * value)} ms` : `${digits(value)} s`;
  if (unit === "percentunit") return `${digits(100 * value)} %`;
  if (unit === "reqps") return `${digits(value)}/s`;
  if (unit === "bytes") return bytes(value);
  return digits(value);
}

function bytes(value) {
  const power = Math.min(POWERS.length - 1, value < 1 ? 0 : Math.floor(Math.log2(value) / 10));
  return `${digits(value / 1024 ** power)} ${POWERS[power]}`;
}

function digits(value) {
  return value.toLocaleString("en", Math.abs(value) < 100 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });
}
