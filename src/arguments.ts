/** Checks of what callers pass in. Messages name the argument, what was expected and what was given. */

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (value instanceof Uint8Array) return `${value.constructor.name} of ${value.length} bytes`;
  if (typeof value === 'string') return `a string of ${value.length} characters`;
  if (typeof value === 'object' || typeof value === 'function')
    return `${typeof value} ${value.constructor?.name ?? ''}`.trim();
  return `${typeof value} ${String(value)}`;
}

export function wrongType(name: string, expected: string, given: unknown): TypeError {
  return new TypeError(`"${name}" expected ${expected}, got ${describe(given)}`);
}

export function outOfRange(name: string, expected: string, given: unknown): RangeError {
  return new RangeError(`"${name}" expected ${expected}, got ${describe(given)}`);
}

export function requireNumber(name: string, value: unknown, min: number, max: number, unit = ''): number {
  if (typeof value !== 'number') throw wrongType(name, `a number${unit && ` of ${unit}`}`, value);
  if (!(value >= min && value <= max)) throw outOfRange(name, `${min} to ${max}${unit && ` ${unit}`}`, value);
  return value;
}

export function requireInteger(name: string, value: unknown, min: number, max: number, unit = ''): number {
  requireNumber(name, value, min, max, unit);
  if (!Number.isInteger(value)) throw outOfRange(name, `an integer${unit && ` of ${unit}`}`, value);
  return value as number;
}

export function requireBytes(name: string, value: unknown, min: number, max: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType(name, 'a Uint8Array', value);
  if (value.length < min || value.length > max) {
    throw outOfRange(name, min === max ? `${min} bytes` : `${min} to ${max} bytes`, value);
  }
  return value;
}

export function requireFunction<T>(name: string, value: T): T {
  if (typeof value !== 'function') throw wrongType(name, 'a function', value);
  return value;
}

export function requireObject(name: string, value: unknown): object {
  if (typeof value !== 'object' || value === null) throw wrongType(name, 'an object', value);
  return value;
}

export function requireBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw wrongType(name, 'a boolean', value);
  return value;
}

export function requireString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw wrongType(name, 'a string', value);
  return value;
}
