/** What a startup snapshot (`node --build-snapshot`) holds, every process that starts from it has: keys and nonces too. */

/** Whether a startup snapshot is being built. */
export function isBuildingSnapshot(): boolean {
  return process.getBuiltinModule('node:v8').startupSnapshot.isBuildingSnapshot();
}
