"""Words by which a sentence is understood, language by language. Data; the rules are elsewhere."""

from __future__ import annotations

from contracts.brief import Form


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOCALES = {
    "ar": "ar-AE",
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fr": "fr-FR",
    "it": "it-IT",
    "nl": "nl-NL",
    "pt": "pt-PT",
}

FUNCTION_WORDS = {
    "de": _words("der die das ein eine einen für und mit auf von wer den dem sekunden ist nicht"),
    "en": _words("the a an for and with who of on off your our is that to before seconds from"),
    "es": _words("el la los las un una para y con que de quien segundos es por su"),
    "fr": _words("le la les un une pour et avec qui de des du sur secondes est votre"),
    "it": _words("il lo la gli un una per e con che di chi secondi è dei su"),
    "nl": _words("de het een voor en met die van wie op seconden is je"),
    "pt": _words("o a os as um uma para e com que de quem segundos é por seu"),
}

FOR = "for|of|about|promoting|introducing|launching|für|pour|para|per|voor|لـ|عن"
"""What stands before the name."""

ARTICLES = "a|an|the|our|ein|eine|einen|der|die|das|un|une|le|la|una|uno|il|een|de|het|um|uma|o"

WHO = "who|that|which|die|der|das|wer|qui|que|quien|che|chi|wie|quem"

MADE_OF = {
    Form.CAN: _words(
        "can canned cans dose dosen lata latas lattina lattine canette blik energy-drink"
    ),
    Form.BOTTLE: _words(
        "bottle bottled bottles flasche flaschen botella bouteille bottiglia fles garrafa"
    ),
    Form.JAR: _words("jar jars jarred glas tarro pot vasetto potje frasco"),
    Form.TUBE: _words("tube tubes tubo tuben"),
    Form.CUP: _words("cup cups becher vaso gobelet bicchiere beker copo tub"),
    Form.BOX: _words("box boxed boxes pack karton schachtel caja boîte scatola doos caixa"),
}
"""Words that name the form itself."""

KEPT_IN = {
    Form.CAN: _words("beer lager ale soda cola seltzer spritz limonade bier bière cerveza birra"),
    Form.BOTTLE: _words(
        "wine juice oil syrup shampoo perfume water whisky gin vodka kombucha milk wein "
        "saft öl parfum vin huile jus vino aceite zumo"
    ),
    Form.JAR: _words(
        "honey jam cream butter mustard pesto pickle pickles marmalade honig creme confiture "
        "miel mermelada marmellata"
    ),
    Form.TUBE: _words("toothpaste lotion sunscreen balm gel zahnpasta sonnencreme dentifrice"),
    Form.CUP: _words("yoghurt yogurt gelato pudding sundae joghurt yaourt skyr"),
    Form.BOX: _words(
        "cereal granola tea chocolate chocolates cookies biscuits crackers kit game muesli "
        "müsli tee schokolade thé chocolat cereales"
    ),
}
"""Products that usually come in it."""

PACKED = _words("canned bottled boxed jarred tinned new fresh brand-new neue neuer neues")
"""Words before a product's noun that are no part of its name."""

BEFORE_A_PLACE = _words("in im aus mit with from avec dans con em da uit met")
"""Words after which comes what the product lies in or is made with, no longer its name."""

CALLS = {
    "ar": "اكتشف المزيد",
    "de": "Jetzt entdecken",
    "en": "Discover it",
    "es": "Descúbrelo",
    "fr": "Découvrir",
    "it": "Scoprilo",
    "nl": "Ontdek het",
    "pt": "Descobrir",
}

OFFER_CALLS = {
    "ar": "احصل على العرض",
    "de": "Angebot sichern",
    "en": "Get the offer",
    "es": "Consigue la oferta",
    "fr": "En profiter",
    "it": "Approfittane",
    "nl": "Pak het voordeel",
    "pt": "Aproveitar",
}

OFFER = (
    r"\d+\s?(?:%|٪|percent|prozent|pour\s?cent)|\bfree\b|\bgratis\b|\bgratuit|\bsave\b|\bdiscount\b|"
    r"\boff\b|\brabatt\b|\bremise\b|\bdescuento\b|\bsconto\b|\bkorting\b|\bdesconto\b|"
    r"[€$£]\s?\d|\d\s?(?:€|euros?|dollars?)"
)

TRADE_WORDS = _words(
    "a an the ad ads advert launch spot film video clip campaign teaser reel story second seconds "
    "please make create produce build write promote introduce advertise announce sell show i we "
    "instagram youtube tiktok facebook linkedin mach mache zeige bewirb fais faire haz crea"
)
"""Words that talk about the advertisement; a name does not begin with them."""
