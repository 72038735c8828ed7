"""Run by Playwright's environment: what Label Studio's own editor shows of a task, as JSON.

Opens the task as people do, and prints the choices, the boxes, and the alphas of every picture that
a brush has drawn, in pixels of the photograph, as runs of [alpha, pixels]. Takes a screenshot too.
"""

import json
import shutil
import sys

from playwright.sync_api import sync_playwright

# None until all is there: a brush is drawn anew once the size of the photograph is known.
_SEEN = """() => {
  const annotation = window.Htx && Htx.annotationStore && Htx.annotationStore.selected;
  if (!annotation || !annotation.results.length) return null;
  if (!window.Konva || !Konva.stages.length) return null;
  const photograph = annotation.results[0].to_name;
  const pictures = Konva.stages[0].find("Image")
    .filter(node => node.name() !== "highlight").map(node => node.image())
    .filter(picture => picture && picture.src.startsWith("data:"));
  const whole = pictures.filter(
    picture => picture.complete && picture.naturalWidth === photograph.naturalWidth
  );
  const drawn = annotation.regions.filter(one => one.type === "brushregion").length;
  if (!photograph.imageIsLoaded || whole.length !== drawn || pictures.length !== drawn) return null;
  const shown = annotation.results.map(one => ({
    from: one.from_name.name,
    type: one.type,
    value: one.type === "choices" ? one.mainValue : null,
  }));
  const boxes = annotation.regions.filter(one => one.type === "rectangleregion").map(one => ({
    label: one.labels[0],
    place: one.serialize().value,
  }));
  const brushes = pictures.map(picture => {
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    const runs = [];
    for (let place = 3; place < data.length; place += 4) {
      const last = runs[runs.length - 1];
      if (last && last[0] === data[place]) last[1] += 1;
      else runs.push([data[place], 1]);
    }
    return {width: canvas.width, height: canvas.height, runs};
  });
  return {shown, boxes, brushes};
}"""
_PATIENCE = 120_000  # milliseconds for each step: other programs may use the machine


def main(url, user, password, project, task, picture):
    with sync_playwright() as play:
        chromium = shutil.which("chromium")
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=_PATIENCE
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(_PATIENCE)
        page.route("**/*", lambda route: _stay(route, url))
        page.goto(f"{url}/user/login", wait_until="domcontentloaded")
        page.fill("input[name=email]", user)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda there: "login" not in there, wait_until="commit")
        page.goto(f"{url}/projects/{project}/data?task={task}", wait_until="domcontentloaded")
        found = page.wait_for_function(_SEEN).json_value()
        page.screenshot(path=picture)
        browser.close()
    sys.stdout.write(json.dumps(found) + "\n")


def _stay(route, url):
    """Let nothing be fetched from elsewhere."""
    if route.request.url.startswith((url, "data:", "blob:")):
        route.continue_()
    else:
        route.abort()


main(*sys.argv[1:])
