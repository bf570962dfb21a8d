/** `datetime.now().strftime(format)`. */
const months = "January February March April May June July August September October November December".split(" ");
const days = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** Python's strftime in the C locale, local time; directives that it lacks stay as they are. */
export function strftime(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const dayOfYear =
    Math.round(
      (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000,
    ) + 1;
  const directives: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    B: () => months[date.getMonth()]!,
    b: () => months[date.getMonth()]!.slice(0, 3),
    d: () => two(date.getDate()),
    e: () => String(date.getDate()).padStart(2, " "),
    j: () => String(dayOfYear).padStart(3, "0"),
    A: () => days[date.getDay()]!,
    a: () => days[date.getDay()]!.slice(0, 3),
    H: () => two(date.getHours()),
    I: () => two(date.getHours() % 12 || 12),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    p: () => (date.getHours() < 12 ? "AM" : "PM"),
    f: () => `${String(date.getMilliseconds()).padStart(3, "0")}000`,
    w: () => String(date.getDay()),
    u: () => String(date.getDay() || 7),
    C: () => two(Math.floor(date.getFullYear() / 100)),
    h: () => months[date.getMonth()]!.slice(0, 3),
    U: () => two(Math.floor((dayOfYear + 6 - date.getDay()) / 7)),
    W: () => two(Math.floor((dayOfYear + 6 - ((date.getDay() + 6) % 7)) / 7)),
    D: () => strftime(date, "%m/%d/%y"),
    F: () => strftime(date, "%Y-%m-%d"),
    T: () => strftime(date, "%H:%M:%S"),
    R: () => strftime(date, "%H:%M"),
    r: () => strftime(date, "%I:%M:%S %p"),
    c: () => strftime(date, "%a %b %e %H:%M:%S %Y"),
    x: () => strftime(date, "%m/%d/%y"),
    X: () => strftime(date, "%H:%M:%S"),
    z: () => "",
    Z: () => "",
    n: () => "\n",
    t: () => "\t",
    "%": () => "%",
  };
  return format.replace(/%-?([A-Za-z%])/g, (whole, letter: string) => {
    const value = directives[letter]?.();
    if (value === undefined) return whole;
    return whole[1] === "-" ? value.replace(/^[0 ]+(?=.)/, "") : value;
  });
}
