/** A number that was not measured, thousands apart. */
export const count = (value: number): string => value.toLocaleString('en-US').replaceAll(',', ' ');

/** Numbers for people: three digits that count, thousands apart. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const three = Number(value.toPrecision(3));
  if (Math.abs(three) >= 1000) return count(Math.round(value));
  return Math.abs(three) < 100 ? value.toPrecision(3) : String(three);
}

/** A ratio, two digits behind the point, or as many as a large one has. */
export const times = (value: number): string => (value >= 10 ? number(value) : value.toFixed(2));
