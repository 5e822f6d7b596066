/** Puts a method of our own over a server's, and takes it away again so that nothing shows. */

/**
 * @param wrap makes the method from the one that stood there
 * @returns undoes it: where somebody put another method over ours meanwhile, ours lets every call through instead
 */
export function overrideMethod<T extends object, K extends keyof T & string>(
  target: T,
  name: K,
  wrap: (original: T[K]) => T[K],
): () => void {
  const own = Object.getOwnPropertyDescriptor(target, name);
  const original = target[name];
  const wrapped = wrap(original) as (...args: unknown[]) => unknown;
  let active = true;
  const method = function (this: unknown, ...args: unknown[]): unknown {
    return Reflect.apply(active ? wrapped : (original as typeof wrapped), this, args);
  };
  Object.defineProperty(target, name, {
    value: method,
    configurable: true,
    writable: true,
    enumerable: own?.enumerable ?? false,
  });
  return () => {
    active = false;
    if (target[name] !== (method as unknown)) return;
    if (own === undefined) delete target[name];
    else Object.defineProperty(target, name, own);
  };
}
