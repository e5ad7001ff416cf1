/**
 * Python's `//`. It takes the remainder first; dividing and rounding down differs from it at factors such as 0.1.
 */
export function floorDivide(value: number, factor: number): number {
  return Math.round((value - (value % factor)) / factor)
}
